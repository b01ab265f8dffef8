package rules

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed *.yaml
var embedded embed.FS

// File is one rule file.
type File struct {
	// Name without a directory, ending in .yaml.
	Name string
	// Content is the YAML text.
	Content string
}

// Static returns the rule files as they are kept, in load order, describing the default workload. Falco accepts them as they are.
func Static() []File {
	names, err := fs.Glob(embedded, "*.yaml") // sorted
	if err != nil {
		panic(fmt.Sprintf("rules: list embedded files: %v", err)) // the pattern is a constant
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		b, err := embedded.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("rules: read embedded %s: %v", name, err)) // listed by the same file system
		}
		files = append(files, File{Name: name, Content: string(b)})
	}
	return files
}
