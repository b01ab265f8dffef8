// Package conformance holds what real Falcos of each version said of rule files, and compares another program's
// verdicts with it. README.md says how the verdicts were made.
package conformance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // the verdicts
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

//go:embed data/cases.jsonl.gz
var casesGzip []byte

// File is one rule file of a case. The text of files that are not this project's, such as the stock rules, is not
// kept: SHA256 identifies it, and Edits are made to it.
type File struct {
	Name   string `json:"name"`
	Text   string `json:"text,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Edits  []Edit `json:"edits,omitempty"`
}

// Edit replaces bytes of a text.
type Edit struct {
	Offset int    `json:"offset"`
	Delete int    `json:"delete"`
	Insert string `json:"insert"`
}

// Case is rule files that are loaded in order, and what each Falco said of them.
type Case struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind,omitempty"`
	Files    []File    `json:"files"`
	Verdicts []Verdict `json:"verdicts"`
}

// Verdict is what one or more Falcos said.
type Verdict struct {
	// Falco lists the versions that said it.
	Falco []string `json:"falco,omitempty"`
	// Files holds one verdict for each file of the case.
	Files []FileVerdict `json:"results,omitempty"`
	// Fatal is set where Falco ended without a verdict, with its last words.
	Fatal string `json:"fatal,omitempty"`
}

// FileVerdict is what Falco said of one file after those before it.
type FileVerdict struct {
	Accepted bool      `json:"successful"`
	Errors   []Problem `json:"errors"`
	Warnings []Problem `json:"warnings"`
}

// Problem is the code and the message of an error or a warning.
type Problem [2]string

// Accepted reports whether Falco would run with the files.
func (v Verdict) Accepted() bool {
	return v.Fatal == "" && !slices.ContainsFunc(v.Files, func(f FileVerdict) bool { return !f.Accepted })
}

// Verdict returns what a version of Falco said, and false when it was not asked.
func (c Case) Verdict(falco string) (Verdict, bool) {
	for _, v := range c.Verdicts {
		if slices.Contains(v.Falco, falco) {
			return v, true
		}
	}
	return Verdict{}, false
}

// Complete reports whether the text of every file is here.
func (c Case) Complete() bool {
	return !slices.ContainsFunc(c.Files, func(f File) bool { return f.SHA256 != "" && f.Text == "" })
}

// With returns the case with the texts that were not kept, from a map of texts by their SHA-256 in hexadecimal. Texts
// that are not in the map stay absent, see Complete.
func (c Case) With(texts map[string]string) Case {
	c.Files = slices.Clone(c.Files)
	for i, f := range c.Files {
		text, ok := texts[f.SHA256]
		if f.Text != "" || !ok {
			continue
		}
		for _, e := range slices.Backward(f.Edits) {
			text = text[:e.Offset] + e.Insert + text[e.Offset+e.Delete:]
		}
		c.Files[i].Text = text
	}
	return c
}

// Texts reads the files below a folder and returns their contents by SHA-256, for Case.With.
func Texts(dir string) (map[string]string, error) {
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Clean(path)) //nolint:gosec // a folder of the person who runs the test
		texts[fmt.Sprintf("%x", sha256.Sum256(b))] = string(b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the rule files of %s: %w", dir, err)
	}
	return texts, nil
}

// Cases returns all cases, read once; callers must not change them.
var Cases = sync.OnceValues(func() ([]Case, error) { return Read(casesGzip) })

// Read reads cases from a compressed file of them.
func Read(compressed []byte) ([]Case, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("read the cases: %w", err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	var cases []Case
	for lines.Scan() {
		var c Case
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("read the cases: line %d: %w", len(cases)+1, err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the cases: %w", err)
	}
	return cases, nil
}

// Differences says where a verdict is not that of Falco. It compares whether each file is accepted, and the codes and
// messages of errors and warnings in any order. The messages of the YAML library are not compared, and where Falco ended
// without a verdict the other program need only refuse the files.
func Differences(want, got Verdict) []string {
	if want.Fatal != "" {
		if got.Accepted() {
			return []string{"Falco ends with " + want.Fatal + "; here the files are accepted"}
		}
		return nil
	}
	if got.Fatal != "" || len(got.Files) != len(want.Files) {
		return []string{fmt.Sprintf("Falco judges %d files; here there are %d, %s", len(want.Files), len(got.Files), got.Fatal)}
	}
	var all []string
	for i, w := range want.Files {
		g := got.Files[i]
		if w.Accepted != g.Accepted {
			all = append(all, fmt.Sprintf("file %d: Falco accepts: %t, here: %t", i, w.Accepted, g.Accepted))
		}
		for _, kind := range []struct {
			name      string
			want, got []Problem
		}{{"error", w.Errors, g.Errors}, {"warning", w.Warnings, g.Warnings}} {
			left := slices.Clone(kind.got)
			for _, p := range kind.want {
				k := slices.IndexFunc(left, func(o Problem) bool { return same(p, o) })
				if k < 0 {
					all = append(all, fmt.Sprintf("file %d: only Falco has the %s %s", i, kind.name, p))
					continue
				}
				left = slices.Delete(left, k, k+1)
			}
			for _, p := range left {
				all = append(all, fmt.Sprintf("file %d: Falco does not have the %s %s", i, kind.name, p))
			}
		}
	}
	return all
}

func same(a, b Problem) bool {
	return a[0] == b[0] && (strings.HasSuffix(a[0], "YAML_PARSE") || a[1] == b[1])
}
