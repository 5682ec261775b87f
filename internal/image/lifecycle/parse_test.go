package lifecycle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func doc(rules ...string) string {
	text := `{"rules":[` + strings.Join(rules, ",") + `]}`
	return text + strings.Repeat(" ", max(0, MinTextLength-len(text)))
}

func rule(prio int, selection, action string) string {
	return fmt.Sprintf(`{"rulePriority":%d,"description":"a rule","selection":{%s},"action":{%s}}`, prio, selection, action)
}

const (
	expire   = `"type":"expire"`
	archive  = `"type":"transition","targetStorageClass":"archive"`
	newest   = `"countType":"imageCountMoreThan","countNumber":10`
	pushed   = `"countType":"sinceImagePushed","countUnit":"days","countNumber":14`
	pulled   = `"countType":"sinceImagePulled","countUnit":"days","countNumber":90`
	moved    = `"storageClass":"archive","countType":"sinceImageTransitioned","countUnit":"days","countNumber":90`
	anyImage = `"tagStatus":"any",`
	none     = `"tagStatus":"untagged",`
	prod     = `"tagStatus":"tagged","tagPatternList":["prod*"],`
)

func TestParseAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"all kinds":                doc(rule(5, prod+newest, expire), rule(2, none+pushed, archive), rule(9, anyImage+pulled, archive), rule(10, anyImage+moved, expire), rule(3, none+moved, expire)),
		"any needs last per class": doc(rule(1, anyImage+newest, archive), rule(2, prod+moved, expire), rule(3, anyImage+moved, expire)),
		"standard said":            doc(rule(1, anyImage+`"storageClass":"standard",`+newest, expire)),
		"four wildcards":           doc(rule(1, `"tagStatus":"tagged","tagPatternList":["*test*1*2*3","test*1*2*3*"],`+newest, expire)),
		"lists that overlap":       doc(rule(1, `"tagStatus":"tagged","tagPrefixList":["a"],`+newest, expire), rule(2, `"tagStatus":"tagged","tagPrefixList":["a","b"],`+newest, expire)),
	} {
		p, bad := Parse(text)
		if len(bad) > 0 {
			t.Errorf("%s: %v", name, bad)
			continue
		}
		if !slices.IsSortedFunc(p.Rules, func(a, b Rule) int { return a.Priority - b.Priority }) {
			t.Errorf("%s: rules are not in order of priority", name)
		}
		for _, r := range p.Rules {
			if r.Selection.StorageClass == "" {
				t.Errorf("%s: rule %d has no storage class", name, r.Priority)
			}
		}
	}
}

// Each text has exactly the violations named, as "rule priority field".
func TestParseFindsEveryViolation(t *testing.T) {
	many := make([]string, 51)
	for i := range many {
		many[i] = rule(i+1, fmt.Sprintf(`"tagStatus":"tagged","tagPatternList":["t%d"],`, i)+newest, expire)
	}
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":                  {"", []string{"0 0 ", "0 0 "}},
		"short":                  {`{"rules":[]}`, []string{"0 0 ", "0 0 rules"}},
		"not JSON":               {doc() + "{", []string{"0 0 "}},
		"cut":                    {strings.TrimSpace(doc(rule(1, anyImage+newest, expire)))[:130], []string{"0 0 "}},
		"list":                   {"[" + doc(rule(1, anyImage+newest, expire)) + "]", []string{"0 0 "}},
		"no rules":               {`{"Rules":[]}` + strings.Repeat(" ", 100), []string{"0 0 rules", "0 0 Rules"}},
		"51 rules":               {doc(many...), []string{"0 0 rules"}},
		"long":                   {doc(rule(1, anyImage+newest, expire)) + strings.Repeat(" ", MaxTextLength), []string{"0 0 "}},
		"rule is a string":       {doc(`"x"`, rule(1, anyImage+newest, expire)), []string{"1 0 "}},
		"priority 0":             {doc(rule(0, anyImage+newest, expire)), []string{"1 0 rulePriority"}},
		"priority twice":         {doc(rule(3, prod+newest, expire), rule(3, anyImage+newest, expire)), []string{"2 3 rulePriority"}},
		"priority not a number":  {doc(`{"rulePriority":"1","selection":{` + anyImage + newest + `},"action":{` + expire + `}}`), []string{"1 0 rulePriority"}},
		"fraction":               {doc(rule(1, anyImage+`"countType":"imageCountMoreThan","countNumber":1.5`, expire)), []string{"1 1 selection.countNumber"}},
		"nothing but a priority": {doc(`{"rulePriority":1}`), []string{"1 1 selection", "1 1 action"}},
		"empty objects":          {doc(rule(1, "", "")), []string{"1 1 selection.tagStatus", "1 1 selection.countType", "1 1 selection.countNumber", "1 1 action.type"}},
		"case matters":           {doc(rule(1, `"tagstatus":"any","tagStatus":"ANY",`+newest, `"type":"EXPIRE"`)), []string{"1 1 selection.tagstatus", "1 1 selection.tagStatus", "1 1 action.type"}},
		"tagged without list":    {doc(rule(1, `"tagStatus":"tagged",`+newest, expire)), []string{"1 1 selection"}},
		"tagged with both":       {doc(rule(1, `"tagPrefixList":["p"],`+prod+newest, expire)), []string{"1 1 selection"}},
		"tagged, empty list":     {doc(rule(1, `"tagStatus":"tagged","tagPrefixList":[],`+newest, expire)), []string{"1 1 selection.tagPrefixList"}},
		"tagged, empty entry":    {doc(rule(1, `"tagStatus":"tagged","tagPrefixList":["",1],`+newest, expire)), []string{"1 1 selection.tagPrefixList", "1 1 selection.tagPrefixList"}},
		"five wildcards":         {doc(rule(1, `"tagStatus":"tagged","tagPatternList":["a*","test*1*2*3*4*5"],`+newest, expire)), []string{"1 1 selection.tagPatternList"}},
		"untagged with list":     {doc(rule(1, none+`"tagPrefixList":["p"],`+newest, expire)), []string{"1 1 selection.tagPrefixList"}},
		"any with list":          {doc(rule(1, anyImage+`"tagPatternList":["p"],`+newest, expire)), []string{"1 1 selection.tagPatternList"}},
		"unit with count":        {doc(rule(1, anyImage+newest+`,"countUnit":"days"`, expire)), []string{"1 1 selection.countUnit"}},
		"age without unit":       {doc(rule(1, anyImage+`"countType":"sinceImagePushed","countNumber":3`, expire)), []string{"1 1 selection.countUnit"}},
		"unit hours":             {doc(rule(1, anyImage+`"countType":"sinceImagePushed","countUnit":"hours","countNumber":3`, expire)), []string{"1 1 selection.countUnit"}},
		"count 0":                {doc(rule(1, anyImage+`"countType":"imageCountMoreThan","countNumber":0`, expire)), []string{"1 1 selection.countNumber"}},
		"unknown count type":     {doc(rule(1, anyImage+`"countType":"sinceImageBuilt","countUnit":"days","countNumber":3`, expire)), []string{"1 1 selection.countType"}},
		"pulled, expire":         {doc(rule(1, anyImage+pulled, expire)), []string{"1 1 action.type"}},
		"pulled in the archive":  {doc(rule(1, anyImage+`"storageClass":"archive",`+pulled, archive)), []string{"1 1 selection.storageClass"}},
		"moved, transition":      {doc(rule(1, anyImage+moved, archive)), []string{"1 1 action.type"}},
		"moved, 89 days":         {doc(rule(1, anyImage+strings.Replace(moved, "90", "89", 1), expire)), []string{"1 1 selection.countNumber"}},
		"moved, no class":        {doc(rule(1, anyImage+strings.Replace(moved, `"storageClass":"archive",`, "", 1), expire)), []string{"1 1 selection.storageClass"}},
		"moved, standard":        {doc(rule(1, anyImage+strings.Replace(moved, "archive", "standard", 1), expire)), []string{"1 1 selection.storageClass"}},
		"count in the archive":   {doc(rule(1, anyImage+`"storageClass":"archive",`+newest, expire)), []string{"1 1 selection.storageClass"}},
		"transition to nowhere":  {doc(rule(1, anyImage+newest, `"type":"transition"`)), []string{"1 1 action.targetStorageClass"}},
		"transition to standard": {doc(rule(1, anyImage+newest, `"type":"transition","targetStorageClass":"standard"`)), []string{"1 1 action.targetStorageClass"}},
		"expire to the archive":  {doc(rule(1, anyImage+newest, `"targetStorageClass":"archive",`+expire)), []string{"1 1 action.targetStorageClass"}},
		"two untagged rules":     {doc(rule(1, none+newest, expire), rule(2, none+pushed, archive)), []string{"2 2 selection.tagStatus"}},
		"any first":              {doc(rule(1, anyImage+newest, expire), rule(2, prod+newest, expire)), []string{"1 1 rulePriority"}},
		"any first, listed last": {doc(rule(7, prod+newest, expire), rule(2, anyImage+newest, expire)), []string{"2 2 rulePriority"}},
		"two any rules":          {doc(rule(1, anyImage+newest, expire), rule(2, anyImage+pushed, expire)), []string{"1 1 rulePriority"}},
		"same prefixes": {doc(rule(1, `"tagStatus":"tagged","tagPrefixList":["a","b"],`+newest, expire),
			rule(2, `"tagStatus":"tagged","tagPrefixList":["b","a"],`+pushed, expire)), []string{"2 2 selection.tagPrefixList"}},
		"description is a number": {doc(`{"rulePriority":1,"description":3,"selection":{` + anyImage + newest + `},"action":{` + expire + `}}`), []string{"1 1 description"}},
		"unknown members":         {strings.TrimSuffix(strings.TrimSpace(doc(rule(1, anyImage+newest+`,"x":1`, expire+`,"y":2`))), "}") + `,"version":1}`, []string{"0 0 version", "1 1 selection.x", "1 1 action.y"}},
		"several rules wrong": {doc(rule(4, anyImage+newest, expire), rule(4, prod+pulled, expire), rule(9, `"tagStatus":"untagged"`, archive)),
			[]string{"1 4 rulePriority", "2 4 action.type", "2 4 rulePriority", "3 9 selection.countType", "3 9 selection.countNumber"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, bad := Parse(c.text)
			var got []string
			for _, v := range bad {
				got = append(got, fmt.Sprintf("%d %d %s", v.Rule, v.Priority, v.Field))
				if v.Message == "" || v.String() == "" {
					t.Errorf("%+v has no message", v)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("violations %q\nwant       %q\n%v", got, c.want, bad)
			}
			if len(p.Rules) > 0 {
				t.Error("a policy with violations has rules")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(doc(rule(5, prod+newest, expire), rule(2, none+pushed, archive), rule(9, anyImage+pulled, archive), rule(10, anyImage+moved, expire)))
	f.Add(doc(rule(1, `"tagStatus":"tagged","tagPrefixList":["",1],`+newest, expire)))
	f.Add(`{"rules":[null]}`)
	images := []Image{{Digest: "a", Tags: []string{"prod1"}, PushedAt: daysAgo(99)}, {Digest: "b", PushedAt: daysAgo(3), Manifests: []string{"a"}},
		{Digest: "c", Subject: "a", PushedAt: daysAgo(3)}, {Digest: "d", StorageClass: Archive, PushedAt: daysAgo(500), LastArchivedAt: daysAgo(400)}}
	f.Fuzz(func(t *testing.T, text string) {
		p, bad := Parse(text)
		if len(bad) > 0 {
			return
		}
		if n := len(p.Rules); n == 0 || n > MaxRules || !json.Valid([]byte(text)) {
			t.Fatalf("accepted %d rules", n)
		}
		Lint(p)
		r := Evaluate(p, images, t0)
		if n := len(r.Expired) + len(r.Transitioned) + len(r.Kept) + len(r.Refused) + len(r.Cascaded); n != len(images) {
			t.Fatalf("%d of %d images accounted for", n, len(images))
		}
	})
}
