package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"spire-falco/detect/kube"
)

const (
	namespacePath  = "/api/v1/namespaces/" + Namespace
	identitiesPath = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids"
	// heartbeat is the annotation on the namespace that distinguishes an active run from one that died.
	heartbeat = "spire-falco/verify-heartbeat"
)

// lock creates the namespace of the run, which only one run can have. An existing one belongs to an active run, which
// is an error, or to one that died, whose leftovers are removed. A changing heartbeat tells them apart, not clocks.
func (r *run) lock(ctx context.Context) error {
	for {
		namespace := kube.Object{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": r.metadata("", Namespace, map[string]string{
				"pod-security.kubernetes.io/enforce": "privileged", // for the one pod that reaches the node
			}),
		}
		namespace["metadata"].(kube.Object)["annotations"] = map[string]string{heartbeat: r.id + "-0"}
		err := r.kube.Create(ctx, "/api/v1/namespaces", namespace)
		if err == nil {
			r.created.Store(true)
			return nil
		}
		if !kube.IsAlreadyExists(err) {
			return fmt.Errorf("create the namespace of the run: %w", err)
		}
		if err := r.takeOver(ctx); err != nil {
			return err
		}
	}
}

func (r *run) takeOver(ctx context.Context) error {
	var before, after struct {
		Metadata kube.Metadata `json:"metadata"`
	}
	if err := r.kube.Get(ctx, namespacePath, nil, &before); err != nil {
		if kube.IsNotFound(err) {
			return nil
		}
		return err
	}
	if before.Metadata.Labels[Label] == "" {
		return fmt.Errorf("namespace %s exists and is not verify's (it has no label %s): remove it first", Namespace, Label)
	}
	if before.Metadata.DeletionTimestamp == "" {
		if !pause(ctx, 3*r.options.Heartbeat) {
			return context.Cause(ctx)
		}
		if err := r.kube.Get(ctx, namespacePath, nil, &after); err != nil && !kube.IsNotFound(err) {
			return err
		}
		if after.Metadata.UID == before.Metadata.UID &&
			after.Metadata.Annotations[heartbeat] != before.Metadata.Annotations[heartbeat] {
			return fmt.Errorf("another verify (run %s) is running on this cluster: wait until it has ended",
				before.Metadata.Labels[Label])
		}
		r.note("removing the leftovers of run %s, which was killed", before.Metadata.Labels[Label])
	}
	return r.remove(ctx, "")
}

// beat updates the heartbeat until ctx ends.
func (r *run) beat(ctx context.Context) {
	for n := 1; pause(ctx, r.options.Heartbeat); n++ {
		_ = r.kube.Patch(ctx, namespacePath, kube.Object{"metadata": kube.Object{
			"annotations": map[string]string{heartbeat: fmt.Sprintf("%s-%d", r.id, n)},
		}})
	}
}

// remove deletes everything with the label, or with an ID only what that run created, and waits until it is gone.
func (r *run) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.CleanupTimeout, errTimeout)
	defer cancel()
	var errs []error
	for {
		left, err := r.removeOnce(ctx, id)
		if err != nil {
			errs = append(errs, err)
			if len(errs) > 5 {
				return fmt.Errorf("remove what verify created: %w", err)
			}
		} else if left == 0 {
			return nil
		}
		if !pause(ctx, r.options.Poll) {
			if !errors.Is(context.Cause(ctx), errTimeout) {
				return context.Cause(ctx)
			}
			return errors.Join(fmt.Errorf("%[2]d objects that verify created still exist after %[1]s: "+
				"see kubectl get pods,clusterspiffeids,namespaces -A -l %[3]s", r.options.CleanupTimeout, left, Label), err)
		}
	}
}

func (r *run) removeOnce(ctx context.Context, id string) (int, error) {
	left := 0
	var errs []error
	for _, kind := range []struct{ list, item string }{
		{"/api/v1/pods", "/api/v1/namespaces/%[1]s/pods/%[2]s"},
		{identitiesPath, identitiesPath + "/%[2]s"},
		{"/api/v1/namespaces", "/api/v1/namespaces/%[2]s"},
	} {
		var found struct {
			Items []struct {
				Metadata kube.Metadata `json:"metadata"`
			} `json:"items"`
		}
		if err := r.kube.Get(ctx, kind.list, labelled(), &found); err != nil {
			if !kube.IsNotFound(err) { // the cluster may not have SPIRE's kinds
				errs = append(errs, err)
			}
			continue
		}
		for _, item := range found.Items {
			m := item.Metadata
			if id != "" && m.Labels[Label] != id {
				continue
			}
			left++
			if m.DeletionTimestamp != "" {
				continue
			}
			if err := r.kube.Delete(ctx, fmt.Sprintf(kind.item, m.Namespace, m.Name)); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return left, errors.Join(errs...)
}

// removePods deletes only the run's pods and waits until they are gone.
func (r *run) removePods(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.CleanupTimeout, errTimeout)
	defer cancel()
	for {
		pods, err := r.kube.Pods(ctx, "", Label+"="+r.id)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return nil
		}
		for _, p := range pods {
			if p.Metadata.DeletionTimestamp == "" {
				if err := r.kube.Delete(ctx, kube.PodPath(p.Metadata.Namespace, p.Metadata.Name)); err != nil {
					return err
				}
			}
		}
		if !pause(ctx, r.options.Poll) {
			return fmt.Errorf("the pods of the attacks still exist after %s: %w", r.options.CleanupTimeout, context.Cause(ctx))
		}
	}
}

// detached returns a context for cleaning up that does not end with ctx.
func (r *run) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.options.CleanupTimeout+10*time.Second)
}
