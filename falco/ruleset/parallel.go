package ruleset

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// each calls do for 0 to n-1, several at a time and in any order, and returns
// when all are done.
func each(n int, do func(i int)) {
	var (
		wait sync.WaitGroup
		next atomic.Int64
	)
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		wait.Go(work)
	}
	work()
	wait.Wait()
}
