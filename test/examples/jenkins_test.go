package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/slipway-ecs/slipway/internal/ci"
	"github.com/slipway-ecs/slipway/internal/service"
)

// casc is what examples/jenkins says in Jenkins' configuration as code: the attributes Jenkins and its
// plugins know by these names, so that one that is spelled otherwise is found.
//
// Sources: https://github.com/jenkinsci/configuration-as-code-plugin/tree/master/demos and the data-bound
// fields of https://github.com/jenkinsci/amazon-ecs-plugin (ECSCloud, ECSTaskTemplate).
type casc struct {
	Jenkins struct {
		SystemMessage string `yaml:"systemMessage"`
		NumExecutors  *int   `yaml:"numExecutors"`
		SecurityRealm struct {
			Local struct {
				AllowsSignup bool `yaml:"allowsSignup"`
				Users        []struct{ ID, Password string }
			}
		} `yaml:"securityRealm"`
		AuthorizationStrategy struct {
			LoggedInUsersCanDoAnything struct {
				AllowAnonymousRead bool `yaml:"allowAnonymousRead"`
			} `yaml:"loggedInUsersCanDoAnything"`
		} `yaml:"authorizationStrategy"`
		Clouds []struct{ ECS ecsCloud }
	}
	Unclassified struct {
		Location        struct{ URL string }
		GlobalLibraries struct {
			Libraries []struct {
				Name           string
				Implicit       bool
				DefaultVersion string `yaml:"defaultVersion"`
				Retriever      struct {
					ModernSCM struct {
						SCM struct{ Git struct{ Remote string } }
					} `yaml:"modernSCM"`
				}
			}
		} `yaml:"globalLibraries"`
	}
	Jobs []struct{ Script string }
}

type ecsCloud struct {
	Name, Cluster string
	CredentialsID string `yaml:"credentialsId"`
	RegionName    string `yaml:"regionName"`
	JenkinsURL    string `yaml:"jenkinsUrl"`
	NumExecutors  int    `yaml:"numExecutors"`
	MaxAgents     int    `yaml:"maxAgents"`
	RetainAgents  bool   `yaml:"retainAgents"`
	Templates     []struct {
		Label                  string
		TaskDefinitionOverride string `yaml:"taskDefinitionOverride"`
		AgentContainerName     string `yaml:"agentContainerName"`
		LaunchType             string `yaml:"launchType"`
		RemoteFSRoot           string `yaml:"remoteFSRoot"`
	}
}

const jenkins = "../../examples/jenkins/"

func jenkinsFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(jenkins + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func jenkinsSpec(t *testing.T, folder string) service.Spec {
	t.Helper()
	f, faults := service.Parse(folder, []byte(jenkinsFile(t, folder+"/slipway.yaml")))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	spec, faults := f.Spec("prod")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return spec
}

// TestJenkins: what the files of examples/jenkins say of each other fits together. That it deploys and works is
// test/e2e's TestJenkinsExample.
func TestJenkins(t *testing.T) {
	controller, agent := jenkinsSpec(t, "controller"), jenkinsSpec(t, "agent")
	text := jenkinsFile(t, "controller/jenkins.yaml")
	var c casc
	if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.DisallowUnknownField()); err != nil {
		t.Fatal(err)
	}
	t.Run("variables", func(t *testing.T) {
		main := controller.Containers[0]
		for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(text, -1) {
			if main.Env[m[1]] == "" && main.Secrets[m[1]] == "" {
				t.Errorf("${%s} is neither in the environment nor in the secrets of slipway.yaml", m[1])
			}
		}
		if u := c.Jenkins.SecurityRealm.Local.Users; len(u) != 1 || u[0].Password != "${ADMIN_PASSWORD}" {
			t.Errorf("users: %+v", u)
		}
	})
	t.Run("agents", func(t *testing.T) {
		if len(c.Jenkins.Clouds) != 1 || len(c.Jenkins.Clouds[0].ECS.Templates) != 1 || c.Jenkins.NumExecutors == nil || *c.Jenkins.NumExecutors != 0 {
			t.Fatalf("clouds: %+v", c.Jenkins.Clouds)
		}
		a := c.Jenkins.Clouds[0].ECS.Templates[0]
		if a.TaskDefinitionOverride != agent.Name+"-"+agent.Environment || a.AgentContainerName != agent.Containers[0].Name || a.LaunchType != agent.LaunchType {
			t.Errorf("the cloud runs %+v; slipway.yaml makes %s-%s with container %s on %s", a, agent.Name, agent.Environment, agent.Containers[0].Name, agent.LaunchType)
		}
		if agent.Kind != service.KindJob || agent.Containers[0].Env["JENKINS_WEB_SOCKET"] != "true" {
			t.Errorf("the agent is a %s with %v", agent.Kind, agent.Containers[0].Env)
		}
	})
	t.Run("plugins", func(t *testing.T) {
		var have []string
		for line := range strings.Lines(jenkinsFile(t, "controller/plugins.txt")) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				have = append(have, line)
			}
		}
		system, err := ci.Find("jenkins")
		if err != nil {
			t.Fatal(err)
		}
		text, err := system.Definition(ci.Delivery{Service: "x", Folder: ".", Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		list := regexp.MustCompile(`(?m)^// Plugins: (.*)\.$`).FindSubmatch(text)
		if list == nil {
			t.Fatalf("the Jenkinsfile names no plugins:\n%s", text)
		}
		ids := map[string]string{"Pipeline": "workflow-aggregator", "Git": "git", "JUnit": "junit", "Lockable Resources": "lockable-resources", "Milestone": "pipeline-milestone-step", "Timestamper": "timestamper", "AnsiColor": "ansicolor"}
		for name := range strings.SplitSeq(string(list[1]), ", ") {
			if id := ids[name]; id == "" || !slices.Contains(have, id) {
				t.Errorf("the Jenkinsfile needs %s, plugins.txt has %v", name, have)
			}
		}
		for what, id := range map[string]string{"configuration": "configuration-as-code", "clouds": "amazon-ecs", "jobs": "job-dsl", "globalLibraries": "pipeline-groovy-lib"} {
			if !slices.Contains(have, id) {
				t.Errorf("the %s need %s, plugins.txt has %v", what, id, have)
			}
		}
	})
	t.Run("images", func(t *testing.T) {
		for _, folder := range []string{"controller", "agent"} {
			for _, m := range regexp.MustCompile(`(?m)^COPY (\S+) \S+$`).FindAllStringSubmatch(jenkinsFile(t, folder+"/Dockerfile"), -1) {
				if _, err := os.Stat(filepath.Join(jenkins, folder, m[1])); err != nil && !strings.HasPrefix(m[1], "--from=") {
					t.Errorf("the image of the %s copies %s: %v", folder, m[1], err)
				}
			}
		}
	})
}
