//go:build tools

// Package est names the program, so that go.mod keeps what it needs.
package est

import _ "github.com/globalsign/est/cmd/estserver"
