// Podnet gives a node's pods their network: it writes the node's CNI configuration from the address range that
// Kubernetes gave the node, and keeps a route to each other node's range. IPv4, no NetworkPolicy; kind's own
// network program cannot be had as a Go module.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	configFile = "/etc/cni/net.d/10-podnet.conflist"
	config     = `{"cniVersion": "0.4.0", "name": "podnet", "plugins": [
  {"type": "ptp", "ipMasq": true, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
    "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "%s"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`
	untilRange = 200 * time.Millisecond // how often to look while this node has no range: it cannot become ready
	between    = 5 * time.Second        // how often to look for new nodes afterwards
)

func main() {
	cluster, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	// kind names it so that the way to the API server does not need kube-proxy.
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		cluster.Host = "https://" + endpoint
	}
	client := kubernetes.NewForConfigOrDie(cluster)
	written := ""
	for {
		nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			log.Print("nodes not listed: ", err)
		} else {
			for _, node := range nodes.Items {
				if node.Name != os.Getenv("NODE_NAME") {
					routeTo(node)
				} else if podRange := node.Spec.PodCIDR; podRange != written {
					writeConfig(podRange)
					written = podRange
				}
			}
		}
		if written == "" {
			time.Sleep(untilRange)
		} else {
			time.Sleep(between)
		}
	}
}

// writeConfig renames the file into its place: the container runtime watches the folder and reads what appears.
func writeConfig(podRange string) {
	draft := filepath.Join(filepath.Dir(configFile), ".podnet.draft")
	if err := os.WriteFile(draft, fmt.Appendf(nil, config, podRange), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(draft, configFile); err != nil {
		log.Fatal(err)
	}
	log.Print("pods get addresses of ", podRange)
}

// routeTo sends what is for the node's pods to the node; all nodes share one docker network.
func routeTo(node corev1.Node) {
	_, podRange, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil {
		return // it has no range yet
	}
	for _, address := range node.Status.Addresses {
		gateway := net.ParseIP(address.Address)
		if address.Type != corev1.NodeInternalIP || gateway.To4() == nil {
			continue
		}
		if err := netlink.RouteReplace(&netlink.Route{Dst: podRange, Gw: gateway}); err != nil {
			log.Printf("no route to %s by %s: %v", podRange, gateway, err)
		}
	}
}
