package components

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
)

// WorkloadArgs describes one workload.
type WorkloadArgs struct {
	// Workload is its declaration.
	Workload config.Workload
	// All are the declarations of every workload including this one, which determine its peers and servers.
	All []config.Workload
	// Image is the image's reference with a fixed tag or digest.
	Image string
	// TrustDomain is the trust domain of its identity.
	TrustDomain string
	// ClassName is the class name of its ClusterSPIFFEID; empty for none.
	ClassName string
	Cluster   *Cluster
	Namespace *corev1.Namespace
	// IdentityAfter lists the resources that must exist for as long as its identity does: SPIRE's release.
	IdentityAfter []pulumi.Resource
	// After lists the resources that must be up for as long as its pods are: SPIRE.
	After []pulumi.Resource
}

// Workload is a program with its own identity, enforced limits and a declared normal behaviour.
type Workload struct {
	pulumi.ResourceState

	// SPIFFEID is the SPIFFE ID of the workload.
	SPIFFEID pulumi.StringOutput
}

// userID is the non-root user and group ID of workloads, for which the project's own image is built.
const userID = 65532

// NewWorkload registers the ServiceAccount, identity, network policy, Deployment and Service of one workload.
func NewWorkload(ctx *pulumi.Context, name string, args *WorkloadArgs, opts ...pulumi.ResourceOption) (*Workload, error) {
	if args == nil || args.Cluster == nil || args.Namespace == nil {
		return nil, errors.New("a Workload needs a cluster and a namespace")
	}
	if args.Workload.Name == "" || args.Image == "" || args.TrustDomain == "" {
		return nil, errors.New("a Workload needs a name, an image and a trust domain")
	}
	w := &Workload{}
	return register(ctx, "Workload", name, w, opts, func() (pulumi.Map, error) {
		b := workloadBuilder{
			ctx: ctx, name: name, args: args,
			child:  args.Cluster.inCluster(w),
			labels: pulumi.StringMap{"app": pulumi.String(args.Workload.Name)},
		}
		if err := b.build(); err != nil {
			return nil, err
		}
		w.SPIFFEID = pulumi.String(args.Workload.SPIFFEID(args.TrustDomain)).ToStringOutput()
		return pulumi.Map{"spiffeId": w.SPIFFEID, "image": pulumi.String(args.Image)}, nil
	})
}

func (b workloadBuilder) build() error {
	account, err := b.serviceAccount()
	if err != nil {
		return err
	}
	identity, err := b.identity()
	if err != nil {
		return err
	}
	policy, err := b.networkPolicy()
	if err != nil {
		return err
	}
	if b.args.Workload.Port != 0 {
		if err := b.service(); err != nil {
			return err
		}
	}
	return b.deployment(slices.Concat([]pulumi.Resource{account, identity, policy}, b.args.After))
}

type workloadBuilder struct {
	ctx    *pulumi.Context
	name   string
	args   *WorkloadArgs
	child  []pulumi.ResourceOption
	labels pulumi.StringMap
}

func (b workloadBuilder) metadata() *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{
		Name:      pulumi.String(b.args.Workload.Name),
		Namespace: b.args.Namespace.Metadata.Name(),
		Labels:    b.labels,
	}
}

func (b workloadBuilder) registered(kind string, err error) error {
	if err != nil {
		return fmt.Errorf("register the %s of workload %s: %w", kind, b.args.Workload.Name, err)
	}
	return nil
}

func (b workloadBuilder) serviceAccount() (pulumi.Resource, error) {
	account, err := corev1.NewServiceAccount(b.ctx, b.name+"-account", &corev1.ServiceAccountArgs{
		Metadata:                     b.metadata(),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, b.child...)
	return account, b.registered("ServiceAccount", err)
}

// identity registers the workload's own ClusterSPIFFEID. It selects by namespace, label and service account, so that a
// pod with only the label gets no identity.
func (b workloadBuilder) identity() (pulumi.Resource, error) {
	w := b.args.Workload
	spec := pulumi.Map{
		"spiffeIDTemplate": pulumi.String(w.SPIFFEID(b.args.TrustDomain)),
		"namespaceSelector": pulumi.Map{"matchLabels": pulumi.Map{
			"kubernetes.io/metadata.name": pulumi.String(w.Namespace),
		}},
		"podSelector": pulumi.Map{"matchLabels": pulumi.Map{"app": pulumi.String(w.Name)}},
		"workloadSelectorTemplates": pulumi.StringArray{
			pulumi.String("k8s:ns:" + w.Namespace),
			pulumi.String("k8s:sa:" + w.Name),
		},
	}
	if b.args.ClassName != "" {
		spec["className"] = pulumi.String(b.args.ClassName)
	}
	identity, err := apiextensions.NewCustomResource(b.ctx, b.name+"-identity", &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("spire.spiffe.io/v1alpha1"),
		Kind:       pulumi.String("ClusterSPIFFEID"),
		Metadata: &metav1.ObjectMetaArgs{
			Name:   pulumi.String(w.Namespace + "-" + w.Name),
			Labels: pulumi.StringMap{"app.kubernetes.io/part-of": pulumi.String(config.Project)},
		},
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, with(b.child, pulumi.DependsOn(b.args.IdentityAfter))...)
	return identity, b.registered("ClusterSPIFFEID", err)
}

// networkPolicy registers a policy that allows ingress from the peers to the port, and egress to the workloads that
// have this one as a peer (and then to the cluster's DNS) and to the declared destinations.
func (b workloadBuilder) networkPolicy() (pulumi.Resource, error) {
	w := b.args.Workload
	ingress := networkingv1.NetworkPolicyIngressRuleArray{}
	if len(w.Peers) > 0 {
		from := networkingv1.NetworkPolicyPeerArray{}
		for _, peer := range w.Peers {
			from = append(from, b.podsOf(peer))
		}
		ingress = append(ingress, networkingv1.NetworkPolicyIngressRuleArgs{From: from, Ports: ports(w.Port, "TCP")})
	}
	egress := networkingv1.NetworkPolicyEgressRuleArray{}
	servers := config.Servers(w, b.args.All)
	for _, server := range servers {
		egress = append(egress, networkingv1.NetworkPolicyEgressRuleArgs{
			To:    networkingv1.NetworkPolicyPeerArray{b.podsOf(server.Name)},
			Ports: ports(server.Port, "TCP"),
		})
	}
	if len(servers) > 0 {
		egress = append(egress, networkingv1.NetworkPolicyEgressRuleArgs{
			To: networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
				NamespaceSelector: matchLabels("kubernetes.io/metadata.name", "kube-system"),
				PodSelector:       matchLabels("k8s-app", "kube-dns"),
			}},
			Ports: append(ports(config.DNSPort, "UDP"), ports(config.DNSPort, "TCP")...),
		})
	}
	for _, e := range w.Egress {
		egress = append(egress, networkingv1.NetworkPolicyEgressRuleArgs{
			To: networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
				IpBlock: networkingv1.IPBlockArgs{Cidr: pulumi.String(e.CIDR)},
			}},
			Ports: ports(e.Port, strings.ToUpper(e.Protocol)),
		})
	}
	spec := networkingv1.NetworkPolicySpecArgs{
		PodSelector: metav1.LabelSelectorArgs{MatchLabels: b.labels},
		PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
	}
	if len(ingress) > 0 { // the API server drops an empty list, which would then be a change in every preview
		spec.Ingress = ingress
	}
	if len(egress) > 0 {
		spec.Egress = egress
	}
	policy, err := networkingv1.NewNetworkPolicy(b.ctx, b.name+"-policy", &networkingv1.NetworkPolicyArgs{
		Metadata: b.metadata(),
		Spec:     spec,
	}, b.child...)
	return policy, b.registered("NetworkPolicy", err)
}

// podsOf selects the pods of another declared workload.
func (b workloadBuilder) podsOf(name string) networkingv1.NetworkPolicyPeerArgs {
	namespace := ""
	for _, w := range b.args.All {
		if w.Name == name {
			namespace = w.Namespace
		}
	}
	return networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: matchLabels("kubernetes.io/metadata.name", namespace),
		PodSelector:       matchLabels("app", name),
	}
}

func matchLabels(key, value string) metav1.LabelSelectorArgs {
	return metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{key: pulumi.String(value)}}
}

func ports(port int, protocol string) networkingv1.NetworkPolicyPortArray {
	return networkingv1.NetworkPolicyPortArray{
		networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(port), Protocol: pulumi.String(protocol)},
	}
}

func (b workloadBuilder) service() error {
	_, err := corev1.NewService(b.ctx, b.name+"-service", &corev1.ServiceArgs{
		Metadata: b.metadata(),
		Spec: &corev1.ServiceSpecArgs{
			Selector: b.labels,
			Ports: corev1.ServicePortArray{corev1.ServicePortArgs{
				Name:       pulumi.String("mtls"),
				Port:       pulumi.Int(b.args.Workload.Port),
				TargetPort: pulumi.String("mtls"),
				Protocol:   pulumi.String("TCP"),
			}},
		},
	}, with(b.child, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "10m"}))...)
	return b.registered("Service", err)
}

// environment returns the variables for the program's socket, address and authorised IDs; the declaration's own
// variables override them.
func (b workloadBuilder) environment() corev1.EnvVarArray {
	w := b.args.Workload
	env := map[string]string{"SPIFFE_ENDPOINT_SOCKET": "unix://" + w.SocketPath}
	if w.Port != 0 {
		env["SERVER_ADDRESS"] = fmt.Sprintf(":%d", w.Port)
	}
	var ids []string
	for _, other := range b.args.All {
		for _, peer := range w.Peers {
			if other.Name == peer {
				ids = append(ids, other.SPIFFEID(b.args.TrustDomain))
			}
		}
	}
	for _, server := range config.Servers(w, b.args.All) {
		ids = append(ids, server.SPIFFEID(b.args.TrustDomain))
	}
	if len(ids) > 0 {
		env["AUTHORIZED_SPIFFE_IDS"] = strings.Join(ids, ",")
	}
	maps.Copy(env, w.Env)
	var out corev1.EnvVarArray
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, corev1.EnvVarArgs{Name: pulumi.String(k), Value: pulumi.String(env[k])})
	}
	return out
}

func (b workloadBuilder) container() corev1.ContainerArgs {
	w := b.args.Workload
	container := corev1.ContainerArgs{
		Name:            pulumi.String(w.Name),
		Image:           pulumi.String(b.args.Image),
		ImagePullPolicy: pulumi.String("IfNotPresent"),
		Command:         pulumi.StringArray{pulumi.String(w.Executable)},
		Args:            pulumi.ToStringArray(w.Args),
		Env:             b.environment(),
		Resources: corev1.ResourceRequirementsArgs{
			Requests: pulumi.StringMap{"cpu": pulumi.String("20m"), "memory": pulumi.String("32Mi")},
			Limits:   pulumi.StringMap{"cpu": pulumi.String("500m"), "memory": pulumi.String("128Mi")},
		},
		SecurityContext: corev1.SecurityContextArgs{
			AllowPrivilegeEscalation: pulumi.Bool(false),
			ReadOnlyRootFilesystem:   pulumi.Bool(true),
			Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
		},
		VolumeMounts: corev1.VolumeMountArray{corev1.VolumeMountArgs{
			Name:      pulumi.String("spiffe-workload-api"),
			MountPath: pulumi.String(path.Dir(w.SocketPath)),
			ReadOnly:  pulumi.Bool(true),
		}},
	}
	if w.Port != 0 {
		container.Ports = corev1.ContainerPortArray{corev1.ContainerPortArgs{
			Name: pulumi.String("mtls"), ContainerPort: pulumi.Int(w.Port), Protocol: pulumi.String("TCP"),
		}}
	}
	if len(w.Health) > 0 { // the server's own binary checks its only port, so no second port is open
		command := corev1.ExecActionArgs{Command: pulumi.ToStringArray(w.Health)}
		container.StartupProbe = corev1.ProbeArgs{
			Exec: command, PeriodSeconds: pulumi.Int(1), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(300),
		}
		container.ReadinessProbe = corev1.ProbeArgs{
			Exec: command, PeriodSeconds: pulumi.Int(10), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(3),
		}
	}
	if w.Port != 0 { // keep listening while endpoints are updated
		container.Lifecycle = corev1.LifecycleArgs{PreStop: corev1.LifecycleHandlerArgs{
			Sleep: corev1.SleepActionArgs{Seconds: pulumi.Int(3)},
		}}
	}
	return container
}

func (b workloadBuilder) deployment(depends []pulumi.Resource) error {
	w := b.args.Workload
	_, err := appsv1.NewDeployment(b.ctx, b.name+"-deployment", &appsv1.DeploymentArgs{
		Metadata: b.metadata(),
		Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(w.Replicas),
			Selector: metav1.LabelSelectorArgs{MatchLabels: b.labels},
			Strategy: appsv1.DeploymentStrategyArgs{RollingUpdate: appsv1.RollingUpdateDeploymentArgs{
				MaxUnavailable: pulumi.Int(0), MaxSurge: pulumi.Int(1),
			}},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: b.labels},
				Spec: corev1.PodSpecArgs{
					ServiceAccountName:            pulumi.String(w.Name),
					AutomountServiceAccountToken:  pulumi.Bool(false),
					EnableServiceLinks:            pulumi.Bool(false),
					TerminationGracePeriodSeconds: pulumi.Int(30),
					SecurityContext: corev1.PodSecurityContextArgs{
						RunAsNonRoot:   pulumi.Bool(true),
						RunAsUser:      pulumi.Int(userID),
						RunAsGroup:     pulumi.Int(userID),
						SeccompProfile: corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
					},
					Containers: corev1.ContainerArray{b.container()},
					Volumes: corev1.VolumeArray{corev1.VolumeArgs{
						Name: pulumi.String("spiffe-workload-api"),
						Csi:  corev1.CSIVolumeSourceArgs{Driver: pulumi.String("csi.spiffe.io"), ReadOnly: pulumi.Bool(true)},
					}},
				},
			},
		},
	}, with(b.child, pulumi.DependsOn(depends))...)
	return b.registered("Deployment", err)
}
