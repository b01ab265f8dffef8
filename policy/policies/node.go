package policies

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const enforce = "pod-security.kubernetes.io/enforce"

func privileged(resources []Resource) []finding {
	system := systemNamespaces(resources)
	var out []finding
	for _, r := range resources {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		k := r.kind()
		if k.is("", "Namespace") {
			for _, m := range namespaceLevel(r, k.patch, system) {
				bad("%s", m)
			}
			continue
		}
		for _, p := range podsOf(r) {
			for _, m := range onTheNode(r, p) {
				bad("%s", m)
			}
		}
		if r.kubernetes() && !r.isRelease() && (!k.builtin() || k.name == "PodSecurityPolicy") {
			for _, m := range dangers(value{r.Inputs}, "") {
				bad("%s", m)
			}
		}
		// The pods of Falco and SPIRE may do more than others, so only their charts may define them.
		if k.patch && slices.Contains(system, r.namespace().text()) && r.namespace().text() != "" {
			for _, key := range sortedKeys(r.Inputs) {
				if !slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, key) {
					bad("%s: a patch in namespace %s may only change metadata, because its charts are trusted", key, r.namespace().show())
				}
			}
		}
	}
	return out
}

// oldLevels are versions of the Pod Security Standards, before Kubernetes 1.25, in which restricted allowed more.
var oldLevels = regexp.MustCompile(`^v1\.([0-9]|1[0-9]|2[0-4])$`)

func namespaceLevel(r Resource, patch bool, system []string) []string {
	name, labels := r.in("metadata", "name"), r.in("metadata", "labels")
	if slices.Contains(system, name.text()) && name.text() != "" {
		return nil
	}
	_, mentioned := labels.fields()[enforce]
	var out []string
	if level := labels.at(enforce); !level.is("restricted") && (mentioned || !patch) {
		out = append(out, fmt.Sprintf("the namespace %s enforces the Pod Security level %s; it must be \"restricted\"", name.show(), level.show()))
	}
	if v := labels.at(enforce + "-version").text(); oldLevels.MatchString(v) {
		out = append(out, fmt.Sprintf("the namespace %s enforces the level of Kubernetes %s, which allows more", name.show(), v))
	}
	return out
}

// podVolumes are the volumes that the Pod Security level restricted allows.
var podVolumes = []string{"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image"}

// inlineDrivers are CSI drivers whose inline volumes contain no files of the node.
var inlineDrivers = []string{"csi.spiffe.io", "secrets-store.csi.k8s.io"}

func onTheNode(r Resource, p pod) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if p.spec.at(field).on() {
			bad("spec.%s is true in namespace %s", field, r.namespace().show())
		}
	}
	for _, v := range elements(p.spec.at("volumes")) {
		name := v.at("name").text()
		for _, source := range sortedKeys(v.fields()) {
			if set := v.at(source); source == "name" || set.v == nil || set.unknown() {
				continue
			}
			switch {
			case source == "hostPath":
				bad("volume %s is a path of the node", name)
			case !slices.Contains(podVolumes, source):
				bad("volume %s is of type %s; it must be one of %s", name, source, strings.Join(podVolumes, ", "))
			}
		}
		if driver := v.at("csi", "driver"); v.at("csi").set() && !driver.unknown() && !slices.Contains(inlineDrivers, driver.text()) {
			bad("volume %s is of the CSI driver %s; it must be one of %s", name, driver.show(), strings.Join(inlineDrivers, ", "))
		}
	}
	if len(elements(p.spec.at("ephemeralContainers"))) > 0 {
		bad("ephemeralContainers are for debugging a pod that runs, not for a declaration")
	}
	for _, c := range p.containers() {
		name := c.at("name").text()
		if c.at("securityContext", "privileged").on() {
			bad("container %s is privileged in namespace %s", name, r.namespace().show())
		}
		if add := c.at("securityContext", "capabilities", "add"); len(add.list()) > 0 || !add.unknown() && add.set() {
			bad("container %s adds capabilities in namespace %s", name, r.namespace().show())
		}
		for _, port := range elements(c.at("ports")) {
			if host := port.at("hostPort"); host.set() && !host.zero() && !host.unknown() {
				bad("container %s takes a port of the node", name)
			}
		}
	}
	return out
}

var unconfinedAnnotation = regexp.MustCompile(`^(container\.apparmor\.security\.beta|(container\.)?seccomp\.security\.alpha)\.kubernetes\.io/`)

// safeSysctls are those that the Pod Security level restricted allows.
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
	"net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}

// selinuxTypes are those that the Pod Security level restricted allows.
var selinuxTypes = []string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}

// securityContext reports what a pod's or container's security context weakens.
func securityContext(s value, whose string) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, whose+": "+fmt.Sprintf(format, args...)) }
	if v := s.at("procMount"); v.set() && !v.is("Default") {
		bad("procMount is %s; it must be \"Default\"", v.show())
	}
	for _, field := range []string{"seccompProfile", "appArmorProfile"} {
		if v := s.at(field, "type"); v.set() && !v.is("RuntimeDefault") && !v.is("Localhost") {
			bad("%s is %s", field, v.show())
		}
	}
	options := s.at("seLinuxOptions")
	if v := options.at("type"); v.set() && !v.unknown() && !slices.Contains(selinuxTypes, v.text()) {
		bad("seLinuxOptions.type is %s", v.show())
	}
	for _, field := range []string{"user", "role"} {
		if v := options.at(field); v.set() && !v.unknown() {
			bad("seLinuxOptions.%s is set", field)
		}
	}
	for _, sysctl := range s.at("sysctls").list() {
		if name := sysctl.at("name"); !name.unknown() && !slices.Contains(safeSysctls, name.text()) {
			bad("the sysctl %s is not a safe one", name.show())
		}
	}
	if s.at("windowsOptions", "hostProcess").on() {
		bad("windowsOptions.hostProcess is true")
	}
	return out
}

// dangers finds values that give a pod access to the node in any structure, such as chart values or a custom resource.
func dangers(v value, at string) []string {
	var out []string
	bad := func(path, why string) { out = append(out, strings.TrimPrefix(path, ".")+" "+why) }
	walk(v, at, func(path string, v value) {
		fields := v.fields()
		for _, key := range sortedKeys(fields) {
			x := value{fields[key]}.open()
			where := path + "." + key
			switch key {
			case "privileged", "hostNetwork", "hostPID", "hostIPC", "allowPrivilegeEscalation", "hostProcess",
				"allowPrivilegedContainer", "allowHostNetwork", "allowHostPID", "allowHostIPC", "allowHostPorts", "allowHostDirVolumePlugin":
				if x.on() {
					bad(where, "is "+x.show()+"; it must be false")
				}
			case "runAsUser":
				if x.zero() {
					bad(where, "is 0: root")
				}
			case "runAsNonRoot":
				if x.v == false {
					bad(where, "is false: root")
				}
			case "hostPort":
				if x.set() && !x.zero() && !x.unknown() {
					bad(where, "takes a port of the node")
				}
			case "hostPath":
				if x.v != nil && x.v != "" && !x.unknown() {
					bad(where, "is a path of the node")
				}
			case "capabilities":
				if x.at("add").set() && !x.at("add").unknown() {
					bad(where, "adds capabilities")
				}
			case "securityContext", "podSecurityContext", "containerSecurityContext":
				for _, m := range securityContext(x, where) {
					bad(m, "")
				}
			}
			if strings.EqualFold(x.text(), "hostPath") && strings.HasSuffix(strings.ToLower(key), "type") {
				bad(where, "is a path of the node")
			}
		}
	})
	return out
}

// nodeProvisioners create volumes that are paths of a node.
var nodeProvisioners = regexp.MustCompile(`(?i)(no-provisioner|hostpath|host-path|local-path|local\.csi|localvolume|openebs\.io/local|topolvm)`)

// nodeClasses are usual names of such classes, because the class itself may not be part of the plan.
var nodeClasses = regexp.MustCompile(`(?i)^(manual|.*(hostpath|host-path|local).*)$`)

func noNodeStorage(resources []Resource) []finding {
	var out []finding
	claims, volumes := map[string]bool{}, map[string]bool{}
	for _, r := range resources {
		switch {
		case r.is("", "PersistentVolumeClaim"):
			claims[r.namespace().text()+"/"+r.in("metadata", "name").text()] = true
		case r.is("", "PersistentVolume"):
			volumes[r.in("metadata", "name").text()] = true
		}
	}
	for _, r := range resources {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		k := r.kind()
		switch {
		case k.is("", "PersistentVolume"):
			for _, source := range []string{"hostPath", "local", "flexVolume"} {
				if v := r.in("spec", source); v.v != nil && !v.unknown() {
					bad("spec.%s is storage of the node", source)
				}
			}
			if driver := r.in("spec", "csi", "driver").text(); nodeProvisioners.MatchString(driver) {
				bad("the CSI driver %q gives paths of the node", driver)
			}
		case k.is("storage.k8s.io", "StorageClass"):
			if provisioner := r.in("provisioner").text(); nodeProvisioners.MatchString(provisioner) {
				bad("the provisioner %q gives paths of the node", provisioner)
			}
		case k.is("", "PersistentVolumeClaim"):
			for _, m := range claimed(r.in("spec"), volumes) {
				bad("%s", m)
			}
		case k.is("apps", "StatefulSet"):
			for _, template := range r.in("spec", "volumeClaimTemplates").list() {
				claims[r.namespace().text()+"/"+template.at("metadata", "name").text()] = true
				for _, m := range claimed(template.at("spec"), volumes) {
					bad("volumeClaimTemplates: %s", m)
				}
			}
		}
		for _, p := range podsOf(r) {
			for _, v := range elements(p.spec.at("volumes")) {
				name := v.at("persistentVolumeClaim", "claimName")
				if name.set() && !name.unknown() && !r.namespace().unknown() && !claims[r.namespace().text()+"/"+name.text()] {
					bad("volume %s is the claim %s, which is not part of the stack: what it holds is not known", v.at("name").text(), name.show())
				}
				for _, m := range claimed(v.at("ephemeral", "volumeClaimTemplate", "spec"), volumes) {
					bad("volume %s: %s", v.at("name").text(), m)
				}
			}
		}
	}
	return out
}

// claimed checks the spec of a claim. volumes are those of the stack, which are checked by themselves.
func claimed(spec value, volumes map[string]bool) []string {
	if spec.fields() == nil {
		return nil
	}
	var out []string
	if name := spec.at("volumeName"); name.set() && !name.unknown() && !volumes[name.text()] {
		out = append(out, fmt.Sprintf("volumeName is %s, a volume that is not part of the stack: it may be a path of the node", name.show()))
	}
	if class, ok := spec.fields()["storageClassName"]; ok {
		v := value{class}.open()
		if v.v == "" && !volumes[spec.at("volumeName").text()] {
			out = append(out, "storageClassName is empty: any volume of the cluster can be bound, also a path of the node")
		}
		if nodeClasses.MatchString(v.text()) {
			out = append(out, fmt.Sprintf("storageClassName is %q, which by its name gives paths of the node", v.text()))
		}
	}
	return out
}
