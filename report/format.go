package report

import (
	"fmt"
	"io"
	"reflect"
)

// Fprintf is fmt.Fprintf, with Text applied to every argument that is a text, an error or a fmt.Stringer: the format may
// have line feeds and tabs, but no argument can add one.
func Fprintf(w io.Writer, format string, args ...any) {
	_, _ = io.WriteString(w, Sprintf(format, args...)) // what is flushed or closed is checked by the caller
}

// Sprintf is fmt.Sprintf with arguments as Fprintf has them.
func Sprintf(format string, args ...any) string {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case error:
			safe[i] = Text(v.Error())
		case fmt.Stringer:
			safe[i] = Text(v.String())
		default:
			safe[i] = arg
			if value := reflect.ValueOf(arg); value.Kind() == reflect.String {
				safe[i] = Text(value.String())
			}
		}
	}
	return fmt.Sprintf(format, safe...)
}
