package report

import (
	"strconv"
	"strings"
)

// Annotation is a message that GitHub Actions shows on a run and next to a line of a file.
type Annotation struct {
	// Level is error, warning or notice; anything else means error.
	Level string
	// Title is the heading; empty for none.
	Title string
	// File and Line are the place in the repository; empty and 0 for none.
	File string
	Line int
	// Message may have several lines.
	Message string
}

// String returns the workflow command as one line, without a line feed at the end. No part of the annotation can end
// the command early or begin another.
func (a Annotation) String() string {
	level := a.Level
	switch level {
	case "warning", "notice":
	default:
		level = "error"
	}
	var properties []string
	add := func(name, value string) {
		if value != "" {
			properties = append(properties, name+"="+propertyEscapes.Replace(visible(value)))
		}
	}
	add("file", a.File)
	if a.Line > 0 {
		add("line", strconv.Itoa(a.Line))
	}
	add("title", a.Title)
	command := "::" + level
	if len(properties) > 0 {
		command += " " + strings.Join(properties, ",")
	}
	return command + "::" + dataEscapes.Replace(visible(a.Message))
}

// visible escapes invisible characters but not line feeds, which the command percent-escapes, nor colons, which need no
// escape inside a command.
func visible(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(Text("."+line), ".")
	}
	return strings.Join(lines, "\n")
}

// The escapes of a command's data and properties, as in GitHub's toolkit.
var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)
