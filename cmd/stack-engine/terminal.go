package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// color tells the engine whether to colour what it writes to out.
func color(out io.Writer) string {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" {
		return "always"
	}
	return "never"
}
