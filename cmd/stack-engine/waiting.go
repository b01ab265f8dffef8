package main

import (
	"cmp"
	"context"
	"io"
	"net/url"
	"slices"
	"time"

	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/report"
)

const (
	// podPatience is how long a pod may take to become ready before its troubles are told. Falco's takes 43 s, since the
	// chart has it asked at 30 and 45 s, and many troubles of the first seconds mend themselves.
	podPatience = time.Minute
	// podInterval is how often the pods are looked at meanwhile.
	podInterval = 10 * time.Second
	// maxEvent is how much of a message of Kubernetes is shown, in characters: it may quote what a container wrote.
	maxEvent = 1000
)

// podTroubles tells why pods do not become ready. Helm waits for them for minutes and says no more than that it does.
type podTroubles struct {
	namespaces []string
	out        io.Writer
	now        func() time.Time
	told       map[string]bool
}

func newPodTroubles(s *config.Settings, out io.Writer) *podTroubles {
	p := &podTroubles{out: out, now: time.Now, told: map[string]bool{}}
	if s.SPIRE.Install {
		p.namespaces = append(p.namespaces, s.SPIRE.Namespace)
	}
	if s.EnableFalco {
		p.namespaces = append(p.namespaces, s.Falco.Namespace)
	}
	for _, w := range s.Workloads {
		p.namespaces = append(p.namespaces, w.Namespace)
	}
	slices.Sort(p.namespaces)
	p.namespaces = slices.Compact(p.namespaces)
	return p
}

// watch looks at the pods until ctx ends. connect may fail as long as there is no cluster; so may every question, and
// the next one is then as good.
func (p *podTroubles) watch(ctx context.Context, connect func() (*kube.Client, error)) {
	tick := time.NewTicker(podInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if client, err := connect(); err == nil {
			_ = p.look(ctx, client)
		}
	}
}

// look tells of each pod that is not ready in time what Kubernetes last warned of, each trouble once.
func (p *podTroubles) look(ctx context.Context, client *kube.Client) error {
	for _, namespace := range p.namespaces {
		pods, err := client.Pods(ctx, namespace, "")
		if err != nil {
			return err
		}
		for _, pod := range pods {
			age := p.now().Sub(pod.Metadata.CreationTimestamp)
			if age < podPatience || pod.Ready() || pod.Status.Phase == "Succeeded" || pod.Metadata.DeletionTimestamp != "" {
				continue
			}
			warning, err := lastWarning(ctx, client, namespace, pod.Metadata.Name)
			if err != nil {
				return err
			}
			key := pod.Metadata.UID + warning.Reason
			if warning.Reason == "" || p.told[key] {
				continue
			}
			p.told[key] = true
			report.Fprintf(p.out, "\npod %s/%s is not ready after %d s: %s: %s\n", namespace, pod.Metadata.Name, int(age.Seconds()),
				report.Bounded(warning.Reason, maxEvent), report.Bounded(warning.Message, maxEvent))
		}
	}
	return nil
}

// event is a warning of Kubernetes about a pod. It repeats: the last time counts.
type event struct {
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	FirstTimestamp time.Time `json:"firstTimestamp"`
	LastTimestamp  time.Time `json:"lastTimestamp"`
	EventTime      time.Time `json:"eventTime"`
}

func (e event) time() time.Time {
	return slices.MaxFunc([]time.Time{e.FirstTimestamp, e.LastTimestamp, e.EventTime}, time.Time.Compare)
}

func lastWarning(ctx context.Context, client *kube.Client, namespace, pod string) (event, error) {
	var list struct {
		Items []event `json:"items"`
	}
	err := client.Get(ctx, "/api/v1/namespaces/"+namespace+"/events", url.Values{
		"fieldSelector": {"type=Warning,involvedObject.kind=Pod,involvedObject.name=" + pod},
	}, &list)
	if err != nil || len(list.Items) == 0 {
		return event{}, err
	}
	return slices.MaxFunc(list.Items, func(a, b event) int { return cmp.Or(a.time().Compare(b.time()), cmp.Compare(a.Reason, b.Reason)) }), nil
}
