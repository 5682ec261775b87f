package registry

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Registries are the private registries of the local AWS: one by account and region. There is always
// the one of its own account and region. Another account has one in that region as soon as it asks
// for anything; another region has one as soon as something is replicated there. Until then a region
// is served by the registry of the local AWS's own.
type Registries struct {
	cfg   Config
	table *state.Table[Place]
	home  *Store

	mu     sync.RWMutex
	others map[string]*Store // by key
	byHost map[string]*Store // by address
	opened func(*Store)
	scan   func(*Store, *Image)

	jobs chan struct{} // there is something in the queue
	qmu  sync.Mutex
	que  []func()
}

// Place is where a registry is. Key: region/account.
type Place struct {
	Region, Account string
	Number          int // of its address; the home registry has none
}

func placeKey(region, account string) string { return region + "/" + account }

// mostRegistries bounds the registries beside the home one: each has an address of its own, from
// 127.0.0.100 on. Docker takes all of 127.0.0.0/8 for registries without TLS; other clients must be told.
const (
	mostRegistries = 100
	firstAddress   = 100
)

// OpenAll opens the registries that there are.
func OpenAll(cfg Config) (*Registries, error) {
	r := &Registries{cfg: cfg, others: map[string]*Store{}, byHost: map[string]*Store{}, jobs: make(chan struct{}, 1)}
	var err error
	if r.table, err = state.NewTable[Place](cfg.DB, "ecr.registries"); err != nil {
		return nil, fmt.Errorf("opening the registries: %w", err)
	}
	if r.home, err = New(cfg); err != nil {
		return nil, err
	}
	r.home.all = r
	var places []Place
	_ = cfg.DB.View(func(tx *state.Tx) error {
		for _, p := range r.table.All(tx) {
			places = append(places, *p)
		}
		return nil
	})
	for _, p := range places {
		if _, err := r.open(p); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Home is the registry of the local AWS's own account and region.
func (r *Registries) Home() *Store { return r.home }

// Opened has f called with each registry beside the home one, those that are there already too.
func (r *Registries) Opened(f func(*Store)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = f
	for _, s := range r.others {
		f(s)
	}
}

func (r *Registries) open(p Place) (*Store, error) {
	cfg := r.cfg
	cfg.Region, cfg.Account = p.Region, p.Account
	cfg.Dir = filepath.Join(r.cfg.Dir, "registries", p.Region+"-"+p.Account)
	cfg.tables = "/" + placeKey(p.Region, p.Account)
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	s.all, s.address = r, fmt.Sprintf("127.0.0.%d", firstAddress+p.Number)
	r.others[placeKey(p.Region, p.Account)] = s
	r.byHost[s.address] = s
	if r.opened != nil {
		r.opened(s)
	}
	return s, nil
}

// Find is the registry of an account in a region; nil if there is none.
func (r *Registries) Find(region, account string) *Store {
	if region == r.cfg.Region && account == r.cfg.Account {
		return r.home
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.others[placeKey(region, account)]
}

// Of is the registry that a caller of an account and region has.
func (r *Registries) Of(region, account string) (*Store, error) {
	if s := r.Find(region, account); s != nil {
		return s, nil
	}
	return r.Make(r.cfg.Region, account)
}

// Known is Of for a registry somebody names: it is not made. Nil: there is none.
func (r *Registries) Known(region, account string) *Store {
	if s := r.Find(region, account); s != nil {
		return s
	}
	return r.Find(r.cfg.Region, account)
}

var (
	regionPattern  = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
)

// Make finds the registry of an account in a region, or makes it.
func (r *Registries) Make(region, account string) (*Store, error) {
	if s := r.Find(region, account); s != nil {
		return s, nil
	}
	if !regionPattern.MatchString(region) || !accountPattern.MatchString(account) {
		return nil, errorf(CodeInvalidParameter, "Invalid parameter at 'region' failed to satisfy constraint: 'not a region and account: %s, %s'", region, account)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.others[placeKey(region, account)]; s != nil {
		return s, nil
	}
	if len(r.others) >= mostRegistries {
		return nil, errorf(CodeLimitExceeded, "not supported: more than %d registries of other accounts and regions", mostRegistries)
	}
	p := Place{Region: region, Account: account, Number: len(r.others)}
	if err := r.cfg.DB.Update(func(tx *state.Tx) error {
		r.table.Put(tx, placeKey(region, account), &p)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("making a registry: %w", err)
	}
	return r.open(p)
}

// At is the registry that is reached at a host and port.
func (r *Registries) At(hostport string) *Store {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.byHost[host]; s != nil {
		return s
	}
	return r.home
}

// Host is where a registry is reached: home is the host and port of the home registry.
func (s *Store) Host(home string) string {
	if s.address == "" {
		return home
	}
	_, port, err := net.SplitHostPort(home)
	if err != nil {
		return s.address
	}
	return net.JoinHostPort(s.address, port)
}

// Account is the registry's id.
func (s *Store) Account() string { return s.cfg.Account }

// Region is the registry's region.
func (s *Store) Region() string { return s.cfg.Region }

func (r *Registries) stores() []*Store {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := []*Store{r.home}
	for _, s := range r.others {
		out = append(out, s)
	}
	return out
}

// later has f done by Run, after what was asked for before.
func (r *Registries) later(f func()) {
	r.qmu.Lock()
	r.que = append(r.que, f)
	r.qmu.Unlock()
	select {
	case r.jobs <- struct{}{}:
	default:
	}
}

// Run replicates and scans what was pushed, applies lifecycle policies and cleans up, until ctx ends.
func (r *Registries) Run(ctx context.Context) error {
	for _, s := range r.stores() {
		s.resumeReplication()
	}
	sweep := func() {
		for _, s := range r.stores() {
			s.sweep()
		}
	}
	sweep()
	wait := r.cfg.Clock.After(lifecycleEvery)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
			sweep()
			wait = r.cfg.Clock.After(lifecycleEvery)
		case <-r.jobs:
			r.qmu.Lock()
			jobs := r.que
			r.que = nil
			r.qmu.Unlock()
			for i, job := range jobs {
				if ctx.Err() != nil {
					r.qmu.Lock()
					r.que = append(jobs[i:], r.que...)
					r.qmu.Unlock()
					return ctx.Err()
				}
				job()
			}
		}
	}
}

// tell tells EventBridge of something that happened to a repository.
func (s *Store) tell(kind, repository string, detail any) {
	if s.cfg.Tell != nil {
		s.cfg.Tell(kind, []string{s.ARN(repository)}, detail)
	}
}
