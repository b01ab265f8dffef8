// Package rules holds the Falco rules of this stack and renders them for one deployment.
//
// The rules are static .yaml files that Falco accepts as they are. [Render] joins to them one generated file of list, macro
// and exception overrides made from [Inputs], checks the whole as Falco would, and returns what goes into the ConfigMap.
// Nothing here knows Pulumi or Kubernetes.
package rules
