// Command run holds a program to the verdicts of real Falcos, prints the cases, or records the verdicts of a Falco.
//
//	run -cases                            print the cases, one a line of JSON, without verdicts
//	run -falco 0.44.1 -verdicts FILE      compare verdicts, one a line of JSON, with those of a Falco; - is standard input
//	run -falco 0.44.1 -record FILE        put the verdicts of FILE into data/cases.jsonl.gz
//	run -add FILE                         put new cases of FILE, as -cases prints them, into data/cases.jsonl.gz
//
// A verdict is {"id": case, "results": [{"successful": bool, "errors": [[code, message]], "warnings": [...]}]}, one
// result for each file in order, or {"id": case, "fatal": words} where the program ends without one.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"spire-falco/falco/conformance"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	list := flags.Bool("cases", false, "print the cases")
	version := flags.String("falco", "", "version of Falco")
	verdicts := flags.String("verdicts", "", "file of verdicts to compare")
	record := flags.String("record", "", "file of verdicts to record")
	add := flags.String("add", "", "file of cases to add")
	data := flags.String("data", "", "file of cases to use instead of the built-in ones; -record and -add need it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cases, err := conformance.Cases()
	if *data != "" {
		var b []byte
		if b, err = os.ReadFile(*data); err == nil {
			cases, err = conformance.Read(b)
		}
	}
	switch {
	case err != nil:
		return err
	case *list:
		return print(cases, out)
	case *verdicts != "" && *version != "":
		return compare(cases, *version, *verdicts, in, out)
	case *record != "" && *version != "" && *data != "":
		return recordVerdicts(cases, *version, *record, *data)
	case *add != "" && *data != "":
		return addCases(cases, *add, *data)
	}
	return errors.New("want -cases, -falco with -verdicts, -falco with -record and -data, or -add and -data")
}

func print(cases []conformance.Case, out io.Writer) error {
	w := bufio.NewWriter(out)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, c := range cases {
		if !c.Complete() {
			continue // the text is not here
		}
		c.Verdicts = nil
		if err := e.Encode(c); err != nil {
			return fmt.Errorf("print the cases: %w", err)
		}
	}
	return w.Flush()
}

type identified struct {
	ID string `json:"id"`
	conformance.Verdict
}

func read(in io.Reader) ([]identified, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	var all []identified
	for lines.Scan() {
		var v identified
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("read the verdicts: line %d: %w", len(all)+1, err)
		}
		all = append(all, v)
	}
	return all, lines.Err()
}

func readFile(name string) ([]identified, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("read the verdicts: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return read(f)
}

func compare(cases []conformance.Case, version, name string, in io.Reader, out io.Writer) error {
	var got []identified
	var err error
	if name == "-" {
		got, err = read(in)
	} else {
		got, err = readFile(name)
	}
	if err != nil {
		return err
	}
	byID := map[string]conformance.Verdict{}
	for _, v := range got {
		byID[v.ID] = v.Verdict
	}
	judged, wrong, missing := 0, 0, 0
	for _, c := range cases {
		want, ok := c.Verdict(version)
		if !ok || !c.Complete() {
			continue
		}
		judged++
		v, ok := byID[c.ID]
		if !ok {
			missing++
			continue
		}
		if differences := conformance.Differences(want, v); len(differences) > 0 {
			wrong++
			for _, d := range differences {
				fmt.Fprintf(out, "%s: %s\n", c.ID, d)
			}
		}
	}
	fmt.Fprintf(out, "Falco %s: %d cases, %d disagreements, %d without a verdict\n", version, judged, wrong, missing)
	if wrong+missing > 0 {
		return errors.New("the verdicts are not those of Falco")
	}
	return nil
}

func recordVerdicts(cases []conformance.Case, version, name, data string) error {
	got, err := readFile(name)
	if err != nil {
		return err
	}
	byID := map[string]conformance.Verdict{}
	for _, v := range got {
		byID[v.ID] = v.Verdict
	}
	cases = slices.Clone(cases)
	for i := range cases {
		v, ok := byID[cases[i].ID]
		if !ok {
			continue
		}
		cases[i].Verdicts = put(cases[i].Verdicts, version, v)
	}
	return write(cases, data)
}

// put puts a version's verdict with the equal one of others, or at the end.
func put(all []conformance.Verdict, version string, v conformance.Verdict) []conformance.Verdict {
	var out []conformance.Verdict
	placed := false
	for _, old := range all {
		old.Falco = slices.DeleteFunc(slices.Clone(old.Falco), func(s string) bool { return s == version })
		if !placed && old.Fatal == v.Fatal && reflect.DeepEqual(old.Files, v.Files) {
			old.Falco = append(old.Falco, version)
			placed = true
		}
		if len(old.Falco) > 0 {
			out = append(out, old)
		}
	}
	if !placed {
		v.Falco = []string{version}
		out = append(out, v)
	}
	return out
}

func addCases(cases []conformance.Case, name, data string) error {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return fmt.Errorf("read the cases: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	cases = slices.Clone(cases)
	for lines.Scan() {
		var c conformance.Case
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("read the cases: %w", err)
		}
		if !slices.ContainsFunc(cases, func(o conformance.Case) bool { return o.ID == c.ID }) {
			cases = append(cases, c)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the cases: %w", err)
	}
	return write(cases, data)
}

func write(cases []conformance.Case, name string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	e := json.NewEncoder(z)
	e.SetEscapeHTML(false)
	for _, c := range cases {
		if err := e.Encode(c); err != nil {
			return fmt.Errorf("write the cases: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write the cases: %w", err)
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}
