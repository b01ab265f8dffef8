package rulecmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"spire-falco/falco/ruleset"
	"spire-falco/falco/ruletest"
	"spire-falco/internal/safefile"
)

// maxFile is the most that is read of one rule file, in bytes; the largest that Falco's project publishes has 70 kB.
const maxFile = 16 << 20

// stdin is the name that the rules of standard input have in messages.
const stdin = "<stdin>"

// readFiles reads the rule files that arguments name, in order: files, folders, globs, and - for input, where it is not
// nil. A folder stands for its .yaml and .yml files in the order of their names, without those of subfolders and
// test files.
func readFiles(args []string, input io.Reader) ([]ruleset.File, error) {
	var files []ruleset.File
	piped := false
	for _, arg := range args {
		if arg == "-" && input != nil {
			if piped {
				return nil, errors.New("- is given twice; standard input can be read once")
			}
			piped = true
			content, err := readInput(input)
			if err != nil {
				return nil, fmt.Errorf("read the rules from standard input: %w", err)
			}
			files = append(files, ruleset.File{Name: stdin, Content: content})
			continue
		}
		paths, err := expand(arg)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			content, err := safefile.Read(path, maxFile)
			if err != nil {
				return nil, fmt.Errorf("read the rules: %w", err)
			}
			files = append(files, ruleset.File{Name: path, Content: content})
		}
	}
	return files, nil
}

// readInput reads standard input, bounded as a file is.
func readInput(input io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(input, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = safefile.TooLargeError(maxFile)
	}
	return content, err
}

// expand returns the files that an argument stands for.
func expand(arg string) ([]string, error) {
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, fmt.Errorf("read the folder of rules: %w", err)
		}
		var paths []string
		for _, e := range entries { // sorted by name
			if !e.IsDir() && isRuleFile(e.Name()) {
				paths = append(paths, filepath.Join(arg, e.Name()))
			}
		}
		if paths == nil {
			return nil, fmt.Errorf("the folder %s has no rule file: their names end in .yaml or .yml, and not in %s", arg, ruletest.Suffix)
		}
		return paths, nil
	case err != nil && strings.ContainsAny(arg, "*?["):
		paths, err := filepath.Glob(arg)
		if err != nil {
			return nil, fmt.Errorf("the glob %q: %w", arg, err)
		}
		paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasSuffix(p, ruletest.Suffix) })
		if len(paths) == 0 {
			return nil, fmt.Errorf("no rule file matches the glob %q", arg)
		}
		return paths, nil
	}
	return []string{arg}, nil // what is wrong with it, reading reports
}

func isRuleFile(name string) bool {
	return (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")) && !strings.HasSuffix(name, ruletest.Suffix)
}
