package iampolicy

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var scope = Scope{Partition: "aws", Region: "us-east-1", Account: "111122223333", Cluster: "prod", Service: "app", Environments: []string{"qa", "prod"},
	Roles: []string{"app-task", "app-exec"}, Group: "web-asg", Secrets: true, State: "states", Notices: []string{"ssm:/chat/url", "secretsmanager:chat/token"}, Exec: true}

// Actions that AWS lets nobody restrict to a resource.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
func withoutResources(action string) bool {
	return slices.Contains([]string{"ecr:GetAuthorizationToken", "ecr:DescribeRegistry", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:DeregisterTaskDefinition", "ecs:ListClusters", "ecs:ListServices", "ecs:ListTasks", "servicediscovery:ListNamespaces", "servicediscovery:ListServices", "ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions", "secretsmanager:ListSecrets", "ssm:DescribeParameters", "servicequotas:GetServiceQuota", "iam:GetAccountSummary", "cloudwatch:GetMetricStatistics"}, action) ||
		strings.HasPrefix(action, "elasticloadbalancing:Describe") || strings.HasPrefix(action, "autoscaling:Describe") ||
		strings.HasPrefix(action, "ec2:Describe") || strings.HasPrefix(action, "application-autoscaling:Describe")
}

func TestPolicies(t *testing.T) {
	for name, d := range map[string]Document{"ci": CI(scope), "images": Images(scope), "deployer": Deployer(scope), "controller": Controller(scope), "execution": Execution(scope)} {
		t.Run(name, func(t *testing.T) {
			var read Document
			if err := json.Unmarshal([]byte(d.Text()), &read); err != nil || read.Version != "2012-10-17" || len(read.Statement) == 0 {
				t.Fatalf("it does not parse: %v\n%s", err, d.Text())
			}
			sids := map[string]bool{}
			for _, st := range read.Statement {
				if st.Effect != "Allow" || sids[st.Sid] || st.Sid == "" {
					t.Errorf("statement %q: effect %q, or its name is not its own", st.Sid, st.Effect)
				}
				sids[st.Sid] = true
				for _, a := range st.Action {
					if strings.Contains(a, "*") {
						t.Errorf("%s: action %s", st.Sid, a)
					}
					if slices.Contains(st.Resource, "*") && !withoutResources(a) && len(st.Condition["ArnEquals"]["ecs:cluster"]) == 0 {
						t.Errorf("%s: %s on everything", st.Sid, a)
					}
					if a == "iam:PassRole" && len(st.Condition["StringEquals"]["iam:PassedToService"]) == 0 {
						t.Errorf("%s: a role may be passed to any service", st.Sid)
					}
				}
				for _, r := range st.Resource {
					if r != "*" && (!strings.HasPrefix(r, "arn:aws:") || !strings.Contains(r, ":111122223333:") && !strings.HasPrefix(r, "arn:aws:s3:::states")) {
						t.Errorf("%s: resource %q", st.Sid, r)
					}
				}
			}
		})
	}
}

func TestSigningKeys(t *testing.T) {
	for key, want := range map[string]string{
		"alias/ledger": `"Resource":["arn:aws:kms:us-east-1:111122223333:key/*"],"Condition":{"StringEquals":{"kms:RequestAlias":["alias/ledger"]}}`,
		"arn:aws:kms:us-east-1:111122223333:alias/ledger": `"kms:RequestAlias":["alias/ledger"]`,
		"arn:aws:kms:eu-west-1:444455556666:key/1234":     `"Resource":["arn:aws:kms:eu-west-1:444455556666:key/1234"]`,
		"1234-abcd": `"Resource":["arn:aws:kms:us-east-1:111122223333:key/1234-abcd"]`,
	} {
		signed := scope
		signed.Signing = key
		for _, d := range []Document{CI(signed), Deployer(signed), Images(signed)} {
			if data, err := json.Marshal(d); err != nil || !strings.Contains(string(data), want) || strings.Count(string(data), "kms:Sign") != 1 {
				t.Errorf("%s: no %s in %s (%v)", key, want, data, err)
			}
		}
	}
	if strings.Contains(Deployer(scope).Text(), "kms:") {
		t.Error("keys are used where nothing is signed")
	}
}

func TestSplit(t *testing.T) {
	whole := Deployer(scope)
	if whole.Characters() <= MostCharacters {
		t.Fatalf("the policy has %d characters: nothing to split", whole.Characters())
	}
	parts := whole.Split(MostCharacters)
	var all []Statement
	for i, p := range parts {
		if p.Characters() > MostCharacters || p.Version != whole.Version || len(p.Statement) == 0 {
			t.Errorf("part %d has %d characters, %d statements", i+1, p.Characters(), len(p.Statement))
		}
		all = append(all, p.Statement...)
	}
	if !reflect.DeepEqual(all, whole.Statement) {
		t.Error("the parts together are not the policy")
	}
	if one := CI(scope).Split(MostCharacters); len(one) != 1 {
		t.Errorf("a policy that fits becomes %d", len(one))
	}
	if tiny := whole.Split(10); len(tiny) != len(whole.Statement) {
		t.Errorf("%d parts of %d statements", len(tiny), len(whole.Statement))
	}
}

func TestOnlyWhatIsUsed(t *testing.T) {
	bare := scope
	bare.Roles, bare.Secrets, bare.State, bare.Notices, bare.Exec = nil, false, "", nil, false
	if text := Deployer(bare).Text(); strings.Contains(text, "app-task") || strings.Contains(text, "s3:") || strings.Contains(text, "ExecuteCommand") || strings.Contains(text, "GetSecretValue") {
		t.Errorf("more than is used:\n%s", text)
	}
	if text := Execution(bare).Text(); strings.Contains(text, "secretsmanager") || strings.Contains(text, "ssm:") {
		t.Errorf("there are no secrets to read:\n%s", text)
	}
}
