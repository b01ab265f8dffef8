package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// JUnit is a report in the form of JUnit's XML, as CI systems read it. Write makes every text in it harmless.
type JUnit struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []JUnitSuite `xml:"testsuite"`
}

// JUnitSuite is one group of cases.
type JUnitSuite struct {
	Name string `xml:"name,attr"`
	// The sums are counted when the report is written.
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	// Took is the time of the whole suite, and that of its cases together when it is zero.
	Took JUnitTime `xml:"time,attr"`
	// Started is when the suite began; zero when that is not known.
	Started time.Time   `xml:"-"`
	Stamp   string      `xml:"timestamp,attr,omitempty"`
	Cases   []JUnitCase `xml:"testcase"`
}

// JUnitCase is one case; it passed when Failure, Error and Skipped are nil.
type JUnitCase struct {
	Class string `xml:"classname,attr"`
	Name  string `xml:"name,attr"`
	// File and Line are where the case is written; empty and 0 when it is in no file.
	File string    `xml:"file,attr,omitempty"`
	Line int       `xml:"line,attr,omitempty"`
	Took JUnitTime `xml:"time,attr"`
	// Failure says that the outcome was wrong, Error that there was none.
	Failure *JUnitMessage `xml:"failure,omitempty"`
	Error   *JUnitMessage `xml:"error,omitempty"`
	Skipped *JUnitMessage `xml:"skipped,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

// JUnitMessage says in a line, and at length, what is wrong with a case.
type JUnitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnitTime is a duration, which is written in seconds.
type JUnitTime time.Duration

// MarshalText writes the seconds with a fraction.
func (t JUnitTime) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%.6f", time.Duration(t).Seconds()), nil
}

// UnmarshalText reads what MarshalText writes.
func (t *JUnitTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text) + "s")
	if err != nil {
		return fmt.Errorf("read a time of JUnit: %w", err)
	}
	*t = JUnitTime(d)
	return nil
}

// Write counts the sums and writes the report.
func (j JUnit) Write(w io.Writer) error {
	out := JUnit{Suites: make([]JUnitSuite, len(j.Suites))}
	for i, s := range j.Suites {
		out.Suites[i] = s.written()
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	return nil
}

// written is the suite with its sums and with harmless texts.
func (s JUnitSuite) written() JUnitSuite {
	s.Name = Text(s.Name)
	s.Tests, s.Failures, s.Errors, s.Skipped = len(s.Cases), 0, 0, 0
	if !s.Started.IsZero() {
		s.Stamp = s.Started.UTC().Format("2006-01-02T15:04:05")
	}
	cases := make([]JUnitCase, len(s.Cases))
	var took JUnitTime
	count := func(sum *int, m *JUnitMessage) *JUnitMessage {
		if m == nil {
			return nil
		}
		*sum++
		return &JUnitMessage{Message: Lines(m.Message), Text: Lines(m.Text)}
	}
	for i, c := range s.Cases {
		took += c.Took
		c.Class, c.Name, c.File, c.Out = Text(c.Class), Text(c.Name), Text(c.File), Lines(c.Out)
		c.Failure, c.Error, c.Skipped = count(&s.Failures, c.Failure), count(&s.Errors, c.Error), count(&s.Skipped, c.Skipped)
		cases[i] = c
	}
	if s.Took == 0 {
		s.Took = took
	}
	s.Cases = cases
	return s
}
