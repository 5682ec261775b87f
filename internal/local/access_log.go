package local

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
)

// Decision is one permission that was asked for, with --enforce-iam.
type Decision struct {
	Principal string              `json:"principal"`
	Action    string              `json:"action"`
	Resource  string              `json:"resource"`
	Context   map[string][]string `json:"context"`
	Allowed   bool                `json:"allowed"`
	Count     int                 `json:"count"`
}

// decisions are kept once each, so that a policy of what is really used can be written from them.
type decisions struct {
	mu   sync.Mutex
	list []Decision
	seen map[string]int // index in list
}

// mostDecisions bounds what clients can make us keep.
const mostDecisions = 10_000

// changing are condition keys that differ from call to call and say nothing of what is asked for.
var changing = []string{"aws:currenttime", "aws:epochtime"}

func (d *decisions) add(r evaluate.Request, verdict evaluate.Decision) {
	who := r.Principal.ARN
	if r.Principal.Role != "" {
		who = r.Principal.Role
	}
	x := Decision{Principal: who, Action: r.Action, Resource: r.Resource, Context: map[string][]string{}, Allowed: verdict.Allowed(), Count: 1}
	for k, v := range r.Context {
		if !slices.Contains(changing, k) {
			x.Context[k] = v
		}
	}
	key, err := json.Marshal(x)
	if err != nil { // strings only
		panic("a decision does not marshal: " + err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i, ok := d.seen[string(key)]; ok {
		d.list[i].Count++
		return
	}
	if d.seen == nil {
		d.seen = map[string]int{}
	}
	if len(d.list) < mostDecisions {
		d.seen[string(key)] = len(d.list)
		d.list = append(d.list, x)
	}
}

// ServeHTTP lists them, with ?principal= only those of a user or role, by a part of its ARN.
func (d *decisions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	d.mu.Lock()
	out := []Decision{}
	for _, x := range d.list {
		if strings.Contains(x.Principal, r.URL.Query().Get("principal")) {
			out = append(out, x)
		}
	}
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the client may have gone
}
