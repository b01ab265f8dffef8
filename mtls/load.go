package mtls

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"
)

// Load says how many requests to make, and how fast.
type Load struct {
	// Rate is requests per second; 0 means as fast as the answers come.
	Rate float64
	// Count ends the load after that many requests; 0 means no limit.
	Count int
	// Duration ends the load after that time; 0 means no limit.
	Duration time.Duration
	// Concurrency is how many requests may be in flight; at least 1.
	Concurrency int
}

// Summary is the result of a load.
type Summary struct {
	// Requests is the number of requests made.
	Requests int `json:"requests"`
	// Outcomes counts them by outcome.
	Outcomes map[Outcome]int `json:"outcomes"`
	// FirstFailure is the outcome of the first request that failed; empty when
	// none did.
	FirstFailure Outcome `json:"first_failure,omitempty"`
	// FirstError is the error of that request.
	FirstError string `json:"first_error,omitempty"`
	// SPIFFEID is this client's ID as the server last reported it.
	SPIFFEID string `json:"spiffe_id,omitempty"`
	// Seconds is how long the load took.
	Seconds float64 `json:"seconds"`
	// Latency is the latency of the successful requests.
	Latency Latency `json:"latency_ms"`
}

// Latency is how long requests took, in milliseconds. The percentiles are
// accurate to 5 %.
type Latency struct {
	// Min is the shortest.
	Min float64 `json:"min"`
	// Mean is the arithmetic mean.
	Mean float64 `json:"mean"`
	// P50 is the median.
	P50 float64 `json:"p50"`
	// P90 is the 90th percentile.
	P90 float64 `json:"p90"`
	// P99 is the 99th percentile.
	P99 float64 `json:"p99"`
	// Max is the longest.
	Max float64 `json:"max"`
}

// Recorder collects the results of requests in bounded memory. It is safe for
// concurrent use.
type Recorder struct {
	mu      sync.Mutex
	begun   time.Time
	summary Summary
	times   histogram
}

// NewRecorder returns a recorder whose clock starts now.
func NewRecorder() *Recorder {
	return &Recorder{begun: time.Now(), summary: Summary{Outcomes: make(map[Outcome]int)}}
}

// Add records one request and returns its outcome.
func (r *Recorder) Add(id string, took time.Duration, err error) Outcome {
	outcome := OutcomeOf(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Requests++
	r.summary.Outcomes[outcome]++
	if outcome == OutcomeOK {
		r.summary.SPIFFEID = id
		r.times.add(took)
	} else if r.summary.FirstFailure == "" {
		r.summary.FirstFailure, r.summary.FirstError = outcome, err.Error()
	}
	return outcome
}

// Summary returns the results so far.
func (r *Recorder) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.summary
	s.Outcomes = maps.Clone(r.summary.Outcomes)
	s.Seconds = math.Round(time.Since(r.begun).Seconds()*1000) / 1000
	s.Latency = r.times.latency()
	return s
}

// Run makes the requests of load with ask until the load or ctx ends, and
// calls each, unless nil, after every request. A request that ctx interrupts
// is not counted.
func (r *Recorder) Run(
	ctx context.Context, load Load, ask func(context.Context) (string, error), each func(Outcome, error),
) error {
	if load.Rate < 0 || math.IsNaN(load.Rate) || math.IsInf(load.Rate, 0) ||
		load.Count < 0 || load.Duration < 0 || load.Concurrency < 1 {
		return fmt.Errorf("load %+v: rate, count and duration must not be negative, concurrency must be at least 1", load)
	}
	begin := ctx
	if load.Duration > 0 {
		// Only new requests stop then; those in flight may still finish.
		var cancel context.CancelFunc
		begin, cancel = context.WithTimeout(ctx, load.Duration)
		defer cancel()
	}
	starts := make(chan struct{})
	var workers sync.WaitGroup
	for range load.Concurrency {
		workers.Go(func() {
			for range starts {
				t := time.Now()
				id, err := ask(ctx)
				if err != nil && ctx.Err() != nil {
					continue
				}
				outcome := r.Add(id, time.Since(t), err)
				if each != nil {
					each(outcome, err)
				}
			}
		})
	}
	t0 := time.Now()
	for n := 0; load.Count == 0 || n < load.Count; n++ {
		if load.Rate > 0 {
			due := t0.Add(time.Duration(float64(n) / load.Rate * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-begin.Done():
			}
		}
		if begin.Err() != nil {
			break
		}
		select {
		case starts <- struct{}{}:
		case <-begin.Done():
		}
	}
	close(starts)
	workers.Wait()
	return nil
}

const (
	bucketRatio  = 1.05
	bucketCount  = 400 // from 1 us to about 300 s
	bucketOrigin = time.Microsecond
)

// histogram counts durations in buckets, each 5 % wider than the one before.
type histogram struct {
	buckets  [bucketCount]int
	n        int
	sum      time.Duration
	min, max time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > bucketOrigin {
		i = min(int(math.Log(float64(d)/float64(bucketOrigin))/math.Log(bucketRatio)), bucketCount-1)
	}
	h.buckets[i]++
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.n++
	h.sum += d
}

// percentile returns the upper end of the bucket that holds the p-quantile (0
// to 1), at most the longest duration.
func (h *histogram) percentile(p float64) time.Duration {
	want, seen := int(math.Ceil(p*float64(h.n))), 0
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen >= want {
			upper := time.Duration(float64(bucketOrigin) * math.Pow(bucketRatio, float64(i+1)))
			return min(upper, h.max)
		}
	}
	return h.max
}

func (h *histogram) latency() Latency {
	if h.n == 0 {
		return Latency{}
	}
	ms := func(d time.Duration) float64 { return math.Round(float64(d)/float64(time.Microsecond)) / 1000 }
	return Latency{
		Min: ms(h.min), Mean: ms(h.sum / time.Duration(h.n)), Max: ms(h.max),
		P50: ms(h.percentile(0.5)), P90: ms(h.percentile(0.9)), P99: ms(h.percentile(0.99)),
	}
}
