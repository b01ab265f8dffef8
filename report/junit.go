package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// JUnit is a report in JUnit's XML format, which CI systems read. Write makes every text in it harmless.
type JUnit struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []JUnitSuite `xml:"testsuite"`
}

// JUnitSuite is one group of cases.
type JUnitSuite struct {
	Name string `xml:"name,attr"`
	// Write sets these sums.
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	// Took is the time of the whole suite; zero means the sum of its cases.
	Took JUnitTime `xml:"time,attr"`
	// Started is when the suite began; zero when unknown.
	Started time.Time   `xml:"-"`
	Stamp   string      `xml:"timestamp,attr,omitempty"`
	Cases   []JUnitCase `xml:"testcase"`
}

// JUnitCase is one case; it passed when Failure, Error and Skipped are nil.
type JUnitCase struct {
	Class string `xml:"classname,attr"`
	Name  string `xml:"name,attr"`
	// File and Line are the place of the case; empty and 0 for none.
	File string    `xml:"file,attr,omitempty"`
	Line int       `xml:"line,attr,omitempty"`
	Took JUnitTime `xml:"time,attr"`
	// Failure means that the outcome was wrong, Error that there was none.
	Failure *JUnitMessage `xml:"failure,omitempty"`
	Error   *JUnitMessage `xml:"error,omitempty"`
	Skipped *JUnitMessage `xml:"skipped,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

// JUnitMessage says what is wrong with a case, in one line and in detail.
type JUnitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnitTime is a duration that is written in seconds.
type JUnitTime time.Duration

// MarshalText returns the seconds with a fraction.
func (t JUnitTime) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%.6f", time.Duration(t).Seconds()), nil
}

// UnmarshalText reads what MarshalText writes.
func (t *JUnitTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text) + "s")
	if err != nil {
		return fmt.Errorf("parse a JUnit time: %w", err)
	}
	*t = JUnitTime(d)
	return nil
}

// Write computes the sums and writes the report.
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

// written returns the suite with its sums and with harmless texts.
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
		c.Failure, c.Error = count(&s.Failures, c.Failure), count(&s.Errors, c.Error)
		c.Skipped = count(&s.Skipped, c.Skipped)
		cases[i] = c
	}
	if s.Took == 0 {
		s.Took = took
	}
	s.Cases = cases
	return s
}
