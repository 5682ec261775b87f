package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"
)

// Tag keys Slipway writes.
const (
	tagOwner   = "slipway:service" // cluster/service that a resource was made for
	tagContent = "slipway:content" // digest of a task definition's content
	tagRelease = "slipway:release"
	// tagRevision is of a service: the revision Slipway last had it run, family:revision.
	tagRevision = "slipway:revision"
	tagDone     = "slipway:done:" // + name of a one-off step that succeeded with this revision
)

func (r Ref) owner() string { return clusterName(r.Cluster) + "/" + r.Service }

// mark is eight hex digits that the names of everything made for a service share.
func (r Ref) mark() string {
	sum := sha256.Sum256([]byte(r.owner()))
	return hex.EncodeToString(sum[:4])
}

func (r Ref) executionRoleName() string { return r.roleName("exec") }
func (r Ref) taskRoleName() string      { return r.roleName("task") }

// A role's name has at most 64 characters.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func (r Ref) roleName(kind string) string {
	return trimmed(r.Service, 64-len("slipway---")-len(kind)-8, "slipway-") + "-" + kind + "-" + r.mark()
}

// targetGroupName has at most 32 characters. What cannot be changed in place is part of it, so that
// a change of it makes another target group before the first one goes.
func (r Ref) targetGroupName(fixed ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(fixed, "\x00")))
	return trimmed(r.Service, 18, "") + r.targetGroupMarker() + hex.EncodeToString(sum[:2])
}

func (r Ref) targetGroupMarker() string { return "-" + r.mark() + "-" }

func (r Ref) logGroupName() string { return "/ecs/" + clusterName(r.Cluster) + "/" + r.Service }

func trimmed(name string, limit int, prefix string) string {
	if len(name) > limit {
		name = name[:limit]
	}
	return prefix + strings.TrimRight(name, "-")
}

// contentDigest is the same for task definitions that mean the same. Empty values do not count, so
// a new field in a later Slipway does not change it.
func contentDigest(td TaskDefinition) string {
	data, err := json.Marshal(td)
	if err != nil {
		panic("task definition does not marshal: " + err.Error()) // only plain fields
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		panic("task definition does not unmarshal: " + err.Error())
	}
	data, err = json.Marshal(withoutEmpty(v))
	if err != nil {
		panic("task definition does not marshal: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

func withoutEmpty(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = withoutEmpty(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i, e := range v {
			v[i] = withoutEmpty(e)
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

func merged(of ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range of {
		maps.Copy(out, m)
	}
	return out
}
