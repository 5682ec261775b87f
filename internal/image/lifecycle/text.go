package lifecycle

import "encoding/json"

// The JSON form of a policy.
type (
	textPolicy struct {
		Rules []textRule `json:"rules"`
	}
	textRule struct {
		RulePriority int           `json:"rulePriority"`
		Description  string        `json:"description,omitempty"`
		Selection    textSelection `json:"selection"`
		Action       textAction    `json:"action"`
	}
	textSelection struct {
		TagStatus      TagStatus    `json:"tagStatus"`
		TagPatternList []string     `json:"tagPatternList,omitempty"`
		TagPrefixList  []string     `json:"tagPrefixList,omitempty"`
		StorageClass   StorageClass `json:"storageClass,omitempty"`
		CountType      CountType    `json:"countType"`
		CountUnit      string       `json:"countUnit,omitempty"`
		CountNumber    int          `json:"countNumber"`
	}
	textAction struct {
		Type               ActionType   `json:"type"`
		TargetStorageClass StorageClass `json:"targetStorageClass,omitempty"`
	}
)

// Text is the policy as PutLifecyclePolicy takes it. Defaults are left out.
func (p Policy) Text() string {
	doc := textPolicy{Rules: []textRule{}}
	for _, r := range p.Rules {
		s := r.Selection
		t := textRule{r.Priority, r.Description, textSelection{TagStatus: s.TagStatus, TagPatternList: s.TagPatterns,
			TagPrefixList: s.TagPrefixes, CountType: s.CountType, CountNumber: s.CountNumber}, textAction(r.Action)}
		if s.StorageClass != Standard {
			t.Selection.StorageClass = s.StorageClass
		}
		if s.CountType != ImageCountMoreThan {
			t.Selection.CountUnit = "days"
		}
		doc.Rules = append(doc.Rules, t)
	}
	data, err := json.Marshal(doc)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return string(data)
}

// KeepReleases is a policy that keeps the newest images deployed to production (prod_*), the newest
// of those with a git tag (v*) and the one tagged latest, and expires everything else after some
// days. Each kind has its own rule: several entries in one rule would mean all of them.
func KeepReleases(keep, days int) Policy {
	tagged := func(priority int, description, pattern string) Rule {
		return Rule{priority, description, Selection{TagStatus: Tagged, TagPatterns: []string{pattern}, StorageClass: Standard,
			CountType: ImageCountMoreThan, CountNumber: keep}, Action{Type: Expire}}
	}
	return Policy{[]Rule{
		tagged(1, "Keep the newest images deployed to production", ProdTagPrefix+"*"),
		tagged(2, "Keep the newest releases", "v*"),
		tagged(3, "Keep what is tagged latest", "latest"),
		{4, "Expire the rest", Selection{TagStatus: Any, StorageClass: Standard, CountType: SinceImagePushed, CountNumber: days}, Action{Type: Expire}},
	}}
}
