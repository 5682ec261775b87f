package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStages(t *testing.T) {
	for name, tt := range map[string]struct {
		envs []Environment
		want string
	}{
		"none":        {nil, "test build push scan"},
		"one":         {[]Environment{{Name: "live"}}, "test build push scan deploy-live verify-live"},
		"qa and prod": {[]Environment{{Name: "qa"}, {Name: "prod", From: "qa", Approved: true}}, "test build push scan deploy-qa smoke-qa approve-prod deploy-prod verify-prod"},
		"two at the end": {[]Environment{{Name: "qa"}, {Name: "eu", From: "qa"}, {Name: "us", From: "qa", Approved: true}},
			"test build push scan deploy-qa smoke-qa deploy-eu verify-eu approve-us deploy-us verify-us"},
	} {
		if got := strings.Join(Names(Stages(tt.envs)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestSelection(t *testing.T) {
	all := Stages([]Environment{{Name: "qa"}, {Name: "prod", From: "qa", Approved: true}})
	for in, want := range map[Selection]string{
		{}:                                "test build push scan deploy-qa smoke-qa approve-prod deploy-prod verify-prod",
		{Stage: "push"}:                   "push",
		{From: "scan", Until: "smoke-qa"}: "scan deploy-qa smoke-qa",
		{From: "scan", Until: "scan"}:     "scan",
		{From: "deploy-prod"}:             "deploy-prod verify-prod",
		{Until: "build"}:                  "test build",
		{Stage: "deploy-dev"}:             `error: there is no stage "deploy-dev"; there are test, build, push, scan, deploy-qa, smoke-qa, approve-prod, deploy-prod, verify-prod`,
		{From: "scan", Until: "push"}:     "error: stage scan comes after push",
		{Stage: "scan", Until: "push"}:    "error: stage scan is one stage: it goes without from and until",
	} {
		stages, err := in.Of(all)
		got := strings.Join(Names(stages), " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
}

func day(n int) time.Time { return time.Date(2026, 5, n, 12, 0, 0, 0, time.UTC) }

func TestNewer(t *testing.T) {
	ours := Image{Digest: "b", Commit: "B", Branch: "main", Committed: day(2), Pushed: day(2)}
	for name, tt := range map[string]struct {
		others []Image
		want   string
	}{
		"alone":                {nil, ""},
		"older":                {[]Image{{"a", "A", "main", day(1), day(1)}}, ""},
		"newer":                {[]Image{{"c", "C", "main", day(3), day(3)}}, "c"},
		"the newest":           {[]Image{{"d", "D", "main", day(4), day(4)}, {"c", "C", "main", day(3), day(3)}}, "d"},
		"an old one late":      {[]Image{{"a", "A", "main", day(1), day(9)}}, ""},
		"another branch":       {[]Image{{"c", "C", "feature", day(3), day(3)}}, ""},
		"ours again":           {[]Image{{"b2", "B", "main", day(2), day(3)}}, ""},
		"same image":           {[]Image{{"b", "C", "main", day(3), day(3)}}, ""},
		"without commit times": {[]Image{{"c", "C", "main", time.Time{}, day(3)}}, "c"},
	} {
		got, ok := Newer(ours, append(tt.others, ours))
		if got.Digest != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
	nowhere := Image{Digest: "b", Commit: "B", Pushed: day(2)}
	if got, ok := Newer(nowhere, []Image{{Digest: "c", Commit: "C", Pushed: day(3)}}); ok {
		t.Errorf("of no branch, superseded by %+v", got)
	}
}

func TestRejected(t *testing.T) {
	for name, tt := range map[string]struct {
		votes []Vote
		want  string
	}{
		"nobody":       {nil, ""},
		"for":          {[]Vote{{By: "ann", At: day(1), For: true}}, ""},
		"against":      {[]Vote{{By: "ann", At: day(1)}}, "ann"},
		"taken back":   {[]Vote{{By: "Ann", At: day(2), For: true}, {By: "ann", At: day(1)}}, ""},
		"another's":    {[]Vote{{By: "ann", At: day(1)}, {By: "bob", At: day(2), For: true}}, "ann"},
		"changed mind": {[]Vote{{By: "ann", At: day(1), For: true}, {By: "ann", At: day(2)}}, "ann"},
		"the last one": {[]Vote{{By: "ann", At: day(1)}, {By: "bob", At: day(2)}}, "bob"},
	} {
		if got, ok := Rejected(tt.votes); got.By != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}
}

func TestChanged(t *testing.T) {
	services := []Service{{Name: "a", Folder: "services/a", Paths: []string{"../../lib", "../../go.*"}}, {Name: "b", Folder: "services/b"},
		{Name: "inner", Folder: "services/b/inner"}, {Name: "ab", Folder: "services/ab"}}
	for files, want := range map[string]string{
		"":                           "",
		"README.md":                  "",
		"services/a/main.go":         "a",
		"services/ab/x":              "ab",
		"services/b/inner/x":         "inner",
		"services/b/x services/ab/x": "b ab",
		"lib/deep/x.go":              "a",
		"go.sum":                     "a",
		"services/a":                 "a",
		"library/x":                  "",
	} {
		var got []string
		for _, s := range Changed(services, strings.Fields(files)) {
			got = append(got, s.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", files, got, want)
		}
	}
	if got := Changed([]Service{{Name: "root", Folder: "."}}, []string{"x/y"}); len(got) != 1 {
		t.Errorf("the service at the root: %v", got)
	}
}

// scripted does what its script says, by stage; each entry once, the last one for ever.
type scripted struct {
	script map[string][]error
	done   []string
	told   []string
}

func (s *scripted) Do(_ context.Context, st Stage) (Result, error) {
	s.done = append(s.done, st.Name())
	errs := s.script[st.Name()]
	if len(errs) == 0 {
		return Result{}, nil
	}
	if len(errs) > 1 {
		s.script[st.Name()] = errs[1:]
	}
	return Result{}, errs[0]
}
func (s *scripted) Delivery(context.Context) Delivery { return Delivery{Service: "shop"} }
func (s *scripted) Begun(Stage)                       {}
func (s *scripted) Ended(Stage, Result, error)        {}
func (s *scripted) Notify(_ context.Context, e Event) {
	s.told = append(s.told, strings.TrimSpace(e.Kind+" "+e.Stage.Name()))
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func TestEngine(t *testing.T) {
	all := Stages([]Environment{{Name: "prod", Approved: true}})
	wait, broken := &Stop{End: Waiting, Reason: "not approved"}, errors.New("broken")
	for name, tt := range map[string]struct {
		script   map[string][]error
		sel      Selection
		patience time.Duration
		end      End
		stage    string
		told     string
	}{
		"delivered":          {nil, Selection{}, 0, Delivered, "verify-prod", "started, delivered verify-prod"},
		"one stage":          {nil, Selection{Stage: "build"}, 0, Done, "build", ""},
		"the first stage":    {nil, Selection{Stage: "test"}, 0, Done, "test", "started"},
		"the last stage":     {nil, Selection{Stage: "verify-prod"}, 0, Delivered, "verify-prod", "delivered verify-prod"},
		"tests fail":         {map[string][]error{"test": {broken}}, Selection{}, 0, Failed, "test", "started, failed test"},
		"nobody approves":    {map[string][]error{"approve-prod": {wait}}, Selection{}, 0, Waiting, "approve-prod", "started, waiting approve-prod"},
		"nobody in time":     {map[string][]error{"approve-prod": {wait}}, Selection{}, time.Hour, Waiting, "approve-prod", "started, waiting approve-prod"},
		"approved in time":   {map[string][]error{"approve-prod": {wait, wait, nil}}, Selection{}, time.Hour, Delivered, "verify-prod", "started, waiting approve-prod, delivered verify-prod"},
		"rejected":           {map[string][]error{"approve-prod": {wait, &Stop{End: Refused}}}, Selection{}, time.Hour, Refused, "approve-prod", "started, waiting approve-prod, rejected approve-prod"},
		"superseded":         {map[string][]error{"approve-prod": {&Stop{End: Superseded}}}, Selection{From: "scan"}, 0, Superseded, "approve-prod", "superseded approve-prod"},
		"the deployment too": {map[string][]error{"deploy-prod": {broken}}, Selection{From: "scan"}, 0, Failed, "deploy-prod", "failed deploy-prod"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &scripted{script: tt.script}
				e := Engine{Worker: w, Watcher: w, Notifier: w, Clock: realClock{}, Patience: tt.patience}
				selected, err := tt.sel.Of(all)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				out := e.Run(t.Context(), all, selected)
				if out.End != tt.end || out.Stage.Name() != tt.stage || strings.Join(w.told, ", ") != tt.told {
					t.Errorf("ended %s at %s, told %q", out.End, out.Stage.Name(), w.told)
				}
				if (out.Error != nil) != slices.Contains([]End{Failed, Waiting, Refused, Superseded}, out.End) {
					t.Errorf("error %v", out.Error)
				}
				if took := time.Since(began); tt.end == Waiting && tt.patience > 0 && (took > tt.patience || took < tt.patience-time.Minute) {
					t.Errorf("waited %s of %s", took, tt.patience)
				}
			})
		})
	}
}

func TestInterruptedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &scripted{script: map[string][]error{"approve-prod": {&Stop{End: Waiting}}}}
		e := Engine{Worker: w, Watcher: w, Notifier: w, Clock: realClock{}, Patience: time.Hour}
		time.AfterFunc(time.Minute, cancel)
		all := Stages([]Environment{{Name: "prod", Approved: true}})
		out := e.Run(ctx, all, all[4:5])
		if !errors.Is(out.Error, context.Canceled) || out.End != Failed {
			t.Errorf("%+v", out)
		}
	})
}
