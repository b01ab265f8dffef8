package rulecmd

import (
	"slices"

	"spire-falco/docs/lints"
	"spire-falco/falco/ruleset"
)

// The parts of SARIF 2.1.0 (OASIS) that a code review shows.
type (
	// SARIF is a log of the results of a check.
	SARIF struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name       string          `json:"name"`
		Rules      []sarifRule     `json:"rules"`
		Properties sarifProperties `json:"properties"`
	}
	// sarifRule is what is known of a code, for those that are in the results.
	sarifRule struct {
		ID    string     `json:"id"`
		Short sarifText  `json:"shortDescription"`
		Help  *sarifHelp `json:"help,omitempty"`
	}
	sarifHelp struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown"`
	}
	// sarifProperties says which Falco the results are true of.
	sarifProperties struct {
		Falco string `json:"falco"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// sarifOf is the result of a check in the form that code review shows beside the lines.
func sarifOf(r CheckResult) SARIF {
	results := []sarifResult{}
	rules := []sarifRule{}
	add := func(level, code, message, hint, file string, line, column int) {
		if hint != "" {
			message += " (" + hint + ")"
		}
		place := sarifPhysical{Artifact: sarifArtifact{URI: file}}
		if line > 0 {
			place.Region = &sarifRegion{StartLine: line, StartColumn: column}
		}
		if !slices.ContainsFunc(rules, func(r sarifRule) bool { return r.ID == code }) {
			rules = append(rules, sarifRuleOf(code))
		}
		results = append(results, sarifResult{
			RuleID: code, Level: level, Message: sarifText{Text: message},
			Locations: []sarifLocation{{Physical: place}},
		})
	}
	problems := func(level string, list []ruleset.Problem) {
		for _, p := range list {
			add(level, string(p.Code), p.Message, p.Hint, p.File, p.Line, p.Column)
		}
	}
	problems("error", r.Errors)
	problems("warning", r.Warnings)
	for _, f := range r.Findings {
		add("note", string(f.Code), f.Item()+": "+f.Message, f.Hint, f.File, f.Line, f.Column)
	}
	return SARIF{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{{Tool: sarifTool{Driver: sarifDriver{Name: "spire-falco", Rules: rules, Properties: sarifProperties{r.Falco}}}, Results: results}},
	}
}

// sarifRuleOf is what is known of a code: of a lint its page, of Falco's own its name alone.
func sarifRuleOf(code string) sarifRule {
	rule := sarifRule{ID: code, Short: sarifText{Text: code}}
	if about := ruleset.FindingCode(code).Describe(); about != "" {
		rule.Short.Text = about
	}
	if page, ok := lints.Page(code); ok {
		rule.Help = &sarifHelp{Text: page, Markdown: page}
	}
	return rule
}
