// Package clauses looks into the condition of a rule: which of its clauses are true for an event, which one decides, and
// what the rule would be without it. Tests of rules are measured and explained by it.
package clauses
