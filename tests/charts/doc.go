// Package charts holds the real Helm charts to what the stack's values mean by them. Its tests are in a module of their
// own, because the Helm library is large.
package charts
