// Probe answers and asks over HTTP, so that a test can see what a pod reaches:
//
//	probe serve        on port 8080, with its host name
//	probe get URL      prints the answer; exit code 1 and the reason when there is none within five seconds
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		name, err := os.Hostname()
		if err != nil {
			log.Fatal(err)
		}
		http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, name) })
		log.Fatal(http.ListenAndServe(":8080", nil))
	}
	if len(os.Args) != 3 || os.Args[1] != "get" {
		log.Fatal("usage: probe serve | probe get URL")
	}
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
}
