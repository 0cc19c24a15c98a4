// Package programs names what is built from this module, so that go.mod and go.sum pin all of it.
//
//go:build tools

package programs

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
)
