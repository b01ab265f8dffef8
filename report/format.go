package report

import (
	"fmt"
	"io"
	"reflect"
)

// Fprintf is fmt.Fprintf with Text applied to every argument that is a string, an error or a fmt.Stringer: the format
// may contain line feeds and tabs, but no argument can add one.
func Fprintf(w io.Writer, format string, args ...any) {
	_, _ = io.WriteString(w, Sprintf(format, args...)) // callers check flushing and closing
}

// Sprintf is fmt.Sprintf with Text applied to its arguments like Fprintf.
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
