package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

// The execution role's policy holds exactly what the agent needs to start this service's tasks:
// pull its repositories, write its log group, read its secrets.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html

type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Sid       string                       `json:",omitempty"`
	Effect    string                       `json:",omitempty"`
	Principal map[string]string            `json:",omitempty"`
	Action    []string                     `json:",omitempty"`
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func (d policyDocument) String() string {
	d.Version = "2012-10-17"
	data, err := json.Marshal(d)
	if err != nil {
		panic("policy does not marshal: " + err.Error()) // only strings
	}
	return string(data)
}

// trustPolicy lets ECS tasks of this account take the role.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
func trustPolicy(in Infra) string {
	return policyDocument{Statement: []policyStatement{{
		Effect:    "Allow",
		Principal: map[string]string{"Service": "ecs-tasks.amazonaws.com"},
		Action:    []string{"sts:AssumeRole"},
		Condition: map[string]map[string]string{
			"StringEquals": {"aws:SourceAccount": in.Account},
			"ArnLike":      {"aws:SourceArn": in.arn("ecs", "*")},
		},
	}}}.String()
}

func executionPolicy(in Infra, td TaskDefinition, logGroup string) string {
	var doc policyDocument
	allow := func(sid string, actions []string, resources ...string) {
		slices.Sort(resources)
		resources = slices.Compact(resources)
		doc.Statement = append(doc.Statement, policyStatement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources})
	}
	var repositories, params, secrets, files []string
	containers := slices.Clone(td.Containers)
	if td.Router != nil {
		containers = append(containers, service.Container{Image: td.Router.Image})
	}
	containers = append(containers, service.Container{Secrets: td.LogSecrets})
	if td.Router != nil && strings.HasPrefix(td.Router.Config, "arn:") {
		files = append(files, td.Router.Config)
	}
	for _, c := range containers {
		if arn := repositoryARN(in, c.Image); arn != "" {
			repositories = append(repositories, arn)
		}
		for _, from := range c.Secrets {
			switch {
			case strings.Contains(from, ":secretsmanager:"):
				secrets = append(secrets, secretARN(from))
			case strings.HasPrefix(from, "arn:"):
				params = append(params, from)
			default:
				params = append(params, in.arn("ssm", "parameter/"+strings.TrimPrefix(from, "/")))
			}
		}
		files = append(files, c.EnvFiles...)
	}
	if len(repositories) > 0 {
		allow("Login", []string{"ecr:GetAuthorizationToken"}, "*")
		allow("Pull", []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"}, repositories...)
	}
	if (td.LogDriver == "awslogs" || td.Router != nil) && logGroup != "" {
		allow("Logs", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, in.arn("logs", "log-group:"+logGroup+":*"))
	}
	if len(secrets) > 0 {
		allow("Secrets", []string{"secretsmanager:GetSecretValue"}, secrets...)
	}
	if len(params) > 0 {
		allow("Parameters", []string{"ssm:GetParameters"}, params...)
	}
	if len(files) > 0 {
		allow("EnvironmentFiles", []string{"s3:GetObject"}, files...)
	}
	return doc.String()
}

func taskPolicy(statements []service.Statement) string {
	var doc policyDocument
	for _, s := range statements {
		effect := s.Effect
		if effect == "" {
			effect = "Allow"
		}
		doc.Statement = append(doc.Statement, policyStatement{Effect: effect, Action: s.Actions, Resource: s.Resources})
	}
	return doc.String()
}

// repositoryARN is the ECR repository of an image; empty for a public registry.
func repositoryARN(in Infra, image string) string {
	image, _, _ = strings.Cut(image, "@")
	host, path, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") {
		return "" // Docker Hub
	}
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path = path[:i]
	}
	// 111122223333.dkr.ecr.eu-west-1.amazonaws.com
	if labels := strings.Split(host, "."); len(labels) >= 6 && labels[1] == "dkr" && labels[2] == "ecr" {
		in.Account, in.Region = labels[0], labels[3]
	} else if strings.HasSuffix(host, ".io") || strings.HasPrefix(host, "public.ecr.") || strings.HasPrefix(host, "quay.") {
		return ""
	}
	return in.arn("ecr", "repository/"+path)
}

// secretARN takes the key, stage and version that a reference may carry off the secret's ARN:
// arn:aws:secretsmanager:region:account:secret:name-abcdef:key:stage:version.
func secretARN(ref string) string {
	if parts := strings.Split(ref, ":"); len(parts) > 7 {
		return strings.Join(parts[:7], ":")
	}
	return ref
}

func (in Infra) arn(svc, resource string) string {
	partition := in.Partition
	if partition == "" {
		partition = "aws"
	}
	region := in.Region
	if svc == "iam" {
		region = ""
	}
	return "arn:" + partition + ":" + svc + ":" + region + ":" + in.Account + ":" + resource
}

// unionPolicy allows what either document allows. While a deployment goes on, tasks of both versions
// start: the new ones, and after a rollback the old ones again.
func unionPolicy(before, after string) string {
	var a, b struct{ Statement []map[string]any }
	if before == "" || json.Unmarshal([]byte(before), &a) != nil || after != "" && json.Unmarshal([]byte(after), &b) != nil {
		return after
	}
	content := func(s map[string]any) string {
		s = maps.Clone(s)
		delete(s, "Sid")
		return canonicalValue(s)
	}
	all := b.Statement
	for _, s := range a.Statement {
		c := content(s)
		if slices.ContainsFunc(all, func(x map[string]any) bool { return content(x) == c }) {
			continue
		}
		sum := sha256.Sum256([]byte(c))
		s["Sid"] = "Before" + hex.EncodeToString(sum[:4]) // unique within a policy
		all = append(all, s)
	}
	data, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	if err != nil {
		return after
	}
	return string(data)
}

func canonicalValue(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return canonicalJSON(string(data))
}

// parsePolicy reads the statements of a policy document; a single value counts as a list of one.
func parsePolicy(text string) ([]policyStatement, bool) {
	var doc struct {
		Statement []struct {
			Effect           string
			Action, Resource any
		}
	}
	if text == "" || json.Unmarshal([]byte(text), &doc) != nil {
		return nil, false
	}
	list := func(v any) []string {
		switch v := v.(type) {
		case string:
			return []string{v}
		case []any:
			var out []string
			for _, e := range v {
				if s, ok := e.(string); ok {
					out = append(out, s)
				}
			}
			return out
		}
		return nil
	}
	var out []policyStatement
	for _, s := range doc.Statement {
		out = append(out, policyStatement{Effect: s.Effect, Action: list(s.Action), Resource: list(s.Resource)})
	}
	return out, true
}
