// Pause holds a pod's namespaces open: it sleeps, buries orphans where pods share their process table, and goes
// when it is told to.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for buried, err := 1, error(nil); buried > 0 && err == nil; {
			buried, err = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
}
