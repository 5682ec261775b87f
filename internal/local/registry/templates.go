package registry

import "github.com/slipway-ecs/slipway/internal/local/state"

// Codes of errors about templates and cache rules.
const (
	CodeTemplateExists    = "TemplateAlreadyExistsException"
	CodeTemplateNotFound  = "TemplateNotFoundException"
	CodeCacheRuleExists   = "PullThroughCacheRuleAlreadyExistsException"
	CodeCacheRuleNotFound = "PullThroughCacheRuleNotFoundException"
)

// PutTemplate creates a repository creation template, or replaces one.
func (s *Store) PutTemplate(t Template, create bool) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.t.templates.Get(tx, t.Prefix)
		switch {
		case create && ok:
			return errorf(CodeTemplateExists, "The repository creation template with prefix '%s' already exists in the registry with id '%s'", t.Prefix, s.cfg.Account)
		case !create && !ok:
			return s.noTemplate(t.Prefix)
		}
		t.CreatedAt, t.UpdatedAt = s.now(), s.now()
		if ok {
			t.CreatedAt = old.CreatedAt
		}
		s.t.templates.Put(tx, t.Prefix, &t)
		return nil
	})
}

func (s *Store) noTemplate(prefix string) error {
	return errorf(CodeTemplateNotFound, "The repository creation template with prefix '%s' does not exist in the registry with id '%s'", prefix, s.cfg.Account)
}

// Template returns a repository creation template.
func (s *Store) Template(prefix string) (t *Template, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		var ok bool
		if t, ok = s.t.templates.Get(tx, prefix); !ok {
			return s.noTemplate(prefix)
		}
		return nil
	})
	return t, err
}

// DeleteTemplate removes a repository creation template.
func (s *Store) DeleteTemplate(prefix string) (t *Template, err error) {
	err = s.db.Update(func(tx *state.Tx) error {
		var ok bool
		if t, ok = s.t.templates.Get(tx, prefix); !ok {
			return s.noTemplate(prefix)
		}
		s.t.templates.Delete(tx, prefix)
		return nil
	})
	return t, err
}

// Templates returns all repository creation templates by prefix.
func (s *Store) Templates() []*Template {
	var out []*Template
	_ = s.db.View(func(tx *state.Tx) error {
		for _, t := range s.t.templates.All(tx) {
			out = append(out, t)
		}
		return nil
	})
	return out
}

// PutCacheRule creates a pull-through cache rule, or replaces one.
func (s *Store) PutCacheRule(r CacheRule, create bool) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.t.cacheRules.Get(tx, r.Prefix)
		switch {
		case create && ok:
			return errorf(CodeCacheRuleExists, "A pull through cache rule with prefix '%s' already exists in the registry with id '%s'", r.Prefix, s.cfg.Account)
		case !create && !ok:
			return s.noCacheRule(r.Prefix)
		}
		r.CreatedAt, r.UpdatedAt = s.now(), s.now()
		if ok {
			r.CreatedAt = old.CreatedAt
		}
		s.t.cacheRules.Put(tx, r.Prefix, &r)
		return nil
	})
}

func (s *Store) noCacheRule(prefix string) error {
	return errorf(CodeCacheRuleNotFound, "Pull through cache rule with prefix '%s' does not exist in the registry with id '%s'", prefix, s.cfg.Account)
}

// CacheRule returns a pull-through cache rule.
func (s *Store) CacheRule(prefix string) (r *CacheRule, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		var ok bool
		if r, ok = s.t.cacheRules.Get(tx, prefix); !ok {
			return s.noCacheRule(prefix)
		}
		return nil
	})
	return r, err
}

// DeleteCacheRule removes a pull-through cache rule.
func (s *Store) DeleteCacheRule(prefix string) (r *CacheRule, err error) {
	err = s.db.Update(func(tx *state.Tx) error {
		var ok bool
		if r, ok = s.t.cacheRules.Get(tx, prefix); !ok {
			return s.noCacheRule(prefix)
		}
		s.t.cacheRules.Delete(tx, prefix)
		return nil
	})
	return r, err
}

// CacheRules returns all pull-through cache rules by prefix.
func (s *Store) CacheRules() []*CacheRule {
	var out []*CacheRule
	_ = s.db.View(func(tx *state.Tx) error {
		for _, r := range s.t.cacheRules.All(tx) {
			out = append(out, r)
		}
		return nil
	})
	return out
}
