// Package doccheck reads the project's Markdown files, so that tests can compare them with the project: links and their
// targets, and the commands that the pages show.
package doccheck

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// skipped are directories without pages of the project.
var skipped = []string{".git", ".bin", ".cache", ".state", "node_modules", "testdata"}

// Page is a Markdown file.
type Page struct {
	// Path is the path from the root.
	Path  string
	lines []line
}

type line struct {
	text string
	code bool // in a fenced or indented block
}

// Pages reads all Markdown files below root.
func Pages(root string) ([]*Page, error) {
	var pages []*Page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		content, err := os.ReadFile(path) //nolint:gosec // the project's own pages
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		pages = append(pages, parse(filepath.ToSlash(name), string(content)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	return pages, nil
}

func parse(path, content string) *Page {
	p := &Page{Path: path}
	fenced, blank := false, true
	for text := range strings.Lines(content) {
		text = strings.TrimRight(text, "\r\n")
		fence := strings.HasPrefix(strings.TrimLeft(text, " "), "```")
		indented := strings.HasPrefix(text, "    ") && (blank || len(p.lines) > 0 && p.lines[len(p.lines)-1].code)
		p.lines = append(p.lines, line{text: text, code: fenced || fence || indented})
		if fence {
			fenced = !fenced
		}
		blank = strings.TrimSpace(text) == ""
	}
	return p
}

// Link is a link of a page.
type Link struct {
	// Line is the line number, from 1.
	Line int
	// Target is the destination as written.
	Target string
}

var (
	inlineLink = regexp.MustCompile(`\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	inlineCode = regexp.MustCompile("`[^`]*`")
)

// Links returns the links of the page outside code.
func (p *Page) Links() []Link {
	var links []Link
	for i, l := range p.lines {
		if l.code {
			continue
		}
		for _, m := range inlineLink.FindAllStringSubmatch(inlineCode.ReplaceAllString(l.text, "code"), -1) {
			links = append(links, Link{Line: i + 1, Target: m[1]})
		}
	}
	return links
}

var (
	heading   = regexp.MustCompile(`^#{1,6} +(.*?)(?: +#+)?$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	notInSlug = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// Anchors returns the anchors of the page's headings as GitHub generates them.
func (p *Page) Anchors() []string {
	var anchors []string
	count := map[string]int{}
	for _, l := range p.lines {
		m := heading.FindStringSubmatch(l.text)
		if l.code || m == nil {
			continue
		}
		slug := strings.ToLower(linkText.ReplaceAllString(m[1], "$1"))
		slug = strings.ReplaceAll(notInSlug.ReplaceAllString(slug, ""), " ", "-")
		anchor := slug
		if n := count[slug]; n > 0 {
			anchor = fmt.Sprintf("%s-%d", slug, n)
		}
		count[slug]++
		anchors = append(anchors, anchor)
	}
	return anchors
}

// Command is a command that a page shows.
type Command struct {
	// Place is file:line.
	Place string
	// Args are its words after the program.
	Args []string
}

// Commands returns the commands of a program at the start of lines in code blocks, of code spans, and after pipes.
func (p *Page) Commands(program string) []Command {
	start := regexp.MustCompile(`^\s*(?:[A-Z_]+=\S+ +)*(?:go run \./cmd/|\.bin/|\./)?` + regexp.QuoteMeta(program) + `((?:\s.*)?)$`)
	var found []Command
	for i, l := range p.lines {
		spans := []string{l.text}
		if !l.code {
			spans = inlineCode.FindAllString(l.text, -1)
		}
		for _, span := range spans {
			for part := range strings.SplitSeq(strings.Trim(span, "`"), " | ") {
				if m := start.FindStringSubmatch(part); m != nil {
					found = append(found, Command{Place: fmt.Sprintf("%s:%d", p.Path, i+1), Args: words(m[1])})
				}
			}
		}
	}
	return found
}

var word = regexp.MustCompile(`(?:[^\s"']|"[^"]*"|'[^']*')+`)

// words splits a command line into words without quotes, up to a comment, a redirection or the next command.
func words(text string) []string {
	var out []string
	for _, w := range word.FindAllString(text, -1) {
		if strings.ContainsAny(w[:1], "#<>;&|") {
			break
		}
		plain := strings.NewReplacer(`"`, "", `'`, "").Replace(w)
		out = append(out, strings.TrimSuffix(plain, ";"))
		if strings.HasSuffix(w, ";") {
			break
		}
	}
	return out
}
