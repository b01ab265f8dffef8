package verify

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"spire-falco/detect/alerts"
)

// arrival is an alert and when it was read here.
type arrival struct {
	*alerts.Alert
	at time.Time
}

// arrivals keeps Falco's alerts of the run.
type arrivals struct {
	mu      sync.Mutex
	alerts  []arrival
	changed chan struct{}
}

func newArrivals() *arrivals { return &arrivals{changed: make(chan struct{})} }

func (s *arrivals) take(l alerts.Line) {
	if l.Alert == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alerts = append(s.alerts, arrival{l.Alert, time.Now()})
	close(s.changed)
	s.changed = make(chan struct{})
}

// wanted describes the alert of an attack.
type wanted struct {
	rule, pod, marker string
}

func (w wanted) matches(a arrival) bool {
	return a.Rule == w.rule && w.concerns(a)
}

// concerns reports whether the alert is about the attack, whatever its rule.
func (w wanted) concerns(a arrival) bool {
	if _, pod := a.Pod(); w.pod != "" && pod != w.pod {
		return false
	}
	return bytes.Contains(a.OutputFields, []byte(w.marker)) || strings.Contains(a.Output, w.marker)
}

// await returns the first alert that matches, including those that have arrived already.
func (s *arrivals) await(ctx context.Context, w wanted) (arrival, bool) {
	next := 0
	for {
		s.mu.Lock()
		list, changed := s.alerts, s.changed
		s.mu.Unlock()
		for ; next < len(list); next++ {
			if w.matches(list[next]) {
				return list[next], true
			}
		}
		select {
		case <-ctx.Done():
			return arrival{}, false
		case <-changed:
		}
	}
}

// instead lists the rules that fired for the attack.
func (s *arrivals) instead(w wanted) []string {
	var rules []string
	seen := map[string]bool{}
	for _, a := range s.since(0) {
		if w.concerns(a) && !seen[a.Rule] {
			seen[a.Rule] = true
			rules = append(rules, a.Rule)
		}
	}
	return rules
}

func (s *arrivals) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.alerts)
}

func (s *arrivals) since(n int) []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.alerts[n:])
}

// sinceTime returns the alerts of events since t, with a second of tolerance for the nodes' clocks. An alert without a
// time is included.
func (s *arrivals) sinceTime(t time.Time) []arrival {
	var out []arrival
	for _, a := range s.since(0) {
		if a.Time.IsZero() || !a.Time.Before(t.Add(-time.Second)) {
			out = append(out, a)
		}
	}
	return out
}

// upTo counts the alerts of the same rule and pod up to and including a.
func (s *arrivals) upTo(a arrival) int {
	n := 0
	_, pod := a.Pod()
	for _, b := range s.since(0) {
		if _, p := b.Pod(); b.Rule == a.Rule && p == pod {
			n++
		}
		if b.Alert == a.Alert {
			break
		}
	}
	return n
}
