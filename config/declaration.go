package config

import (
	"fmt"
	"strings"

	"spire-falco/charts"
)

// ProjectYAML is the text of Pulumi.yaml: the project with every setting declared.
func ProjectYAML() string {
	var b strings.Builder
	b.WriteString(`# Every setting of the stack. Made from config/declared.go: change it there, then run: make generate
name: ` + Project + `
description: SPIRE, Falco with tested rules, Falcosidekick and an mTLS server on Kubernetes, as one stack
runtime: go
config:
`)
	for _, d := range Declared {
		fmt.Fprintf(&b, "  %s:\n", d.Key)
		switch d.Type {
		case Strings, Objects:
			fmt.Fprintf(&b, "    type: array\n    items:\n      type: %s\n", strings.TrimPrefix(string(d.Type), "array of "))
		default:
			fmt.Fprintf(&b, "    type: %s\n", d.Type)
		}
		fmt.Fprintf(&b, "    description: %q\n", d.Description)
		// No "secret: true" for a secret: the engine would refuse its empty default. Load refuses a plain value instead.
		fmt.Fprintf(&b, "    default: %s\n", yamlDefault(d))
	}
	return b.String()
}

func yamlDefault(d Setting) string {
	if d.Type == String {
		return fmt.Sprintf("%q", d.Default)
	}
	return d.Default // numbers, booleans and JSON are YAML as they are
}

// MarkdownTable is the table of settings in docs/settings.md.
func MarkdownTable() string {
	var b strings.Builder
	b.WriteString("| Setting | Type | Default | What it does |\n|---|---|---|---|\n")
	for _, d := range Declared {
		value := "`" + d.Default + "`"
		if d.Default == "" {
			value = "empty"
		}
		if d.Key == "workloads" {
			value = "mtls-server and mtls-client"
		}
		kind := string(d.Type)
		if d.Secret {
			kind = "secret"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Key, kind, value, strings.ReplaceAll(d.Description, "|", "\\|"))
	}
	return b.String()
}

// GuardsMarkdown is the table of guarded keys in docs/values.md.
func GuardsMarkdown() string {
	var b strings.Builder
	for _, chart := range []string{charts.FalcoName, charts.FalcosidekickName, charts.SPIREName, charts.SPIRECRDsName} {
		fmt.Fprintf(&b, "\n### Chart %s\n\n| Key | Taken | Why not | Setting |\n|---|---|---|---|\n", chart)
		for _, g := range Guarded[chart] {
			keep, setting := "", ""
			if g.Why == "" {
				continue
			}
			if g.Keep != nil {
				keep = fmt.Sprintf("`%v`", g.Keep)
			}
			if g.Setting != "" {
				setting = "`" + strings.ReplaceAll(g.Setting, " and ", "` and `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", g.Key, keep, g.Why, setting)
		}
	}
	return b.String()
}
