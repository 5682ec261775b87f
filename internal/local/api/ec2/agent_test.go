package ec2

import (
	"encoding/base64"
	"maps"
	"testing"
)

// The ways https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bootstrap_container_instance.html
// and launch templates seen in the wild set the agent's configuration.
func TestAgentConfig(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config":                                                                                  {"ECS_CLUSTER": "prod"},
		"#!/bin/bash\necho \"ECS_CLUSTER=prod\" >> /etc/ecs/ecs.config\necho 'ECS_ENABLE_SPOT_INSTANCE_DRAINING=true'>>/etc/ecs/ecs.config":          {"ECS_CLUSTER": "prod", "ECS_ENABLE_SPOT_INSTANCE_DRAINING": "true"},
		"cat <<'EOF' >> /etc/ecs/ecs.config\nECS_CLUSTER=prod\nECS_ENABLE_TASK_ENI_TRUNKING=true\nECS_INSTANCE_ATTRIBUTES={\"stack\":\"blue\"}\nEOF": {"ECS_CLUSTER": "prod", "ECS_ENABLE_TASK_ENI_TRUNKING": "true", "ECS_INSTANCE_ATTRIBUTES": `{"stack":"blue"}`},
		"echo ECS_CLUSTER=prod;echo ECS_LOGLEVEL=debug":                                                                                              {"ECS_CLUSTER": "prod", "ECS_LOGLEVEL": "debug"},
		"# ECS_CLUSTER=no\n":                   {},
		"[settings.ecs]\ncluster = \"prod\"\n": {"ECS_CLUSTER": "prod"}, // Bottlerocket
		"":                                     {},
	} {
		for _, form := range []string{text, base64.StdEncoding.EncodeToString([]byte(text))} {
			if got := agentConfig(form); !maps.Equal(got, want) {
				t.Errorf("%q = %v, want %v", text, got, want)
			}
		}
	}
}
