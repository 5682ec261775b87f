package ec2

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

func (s *Service) registerTemplates(svc *wire.Service) {
	wire.Handle(svc, "CreateLaunchTemplate", s.createTemplate)
	wire.Handle(svc, "CreateLaunchTemplateVersion", s.createVersion)
	wire.Handle(svc, "ModifyLaunchTemplate", s.modifyTemplate)
	wire.Handle(svc, "DeleteLaunchTemplate", s.deleteTemplate)
	wire.Handle(svc, "DeleteLaunchTemplateVersions", s.deleteVersions)
	wire.Handle(svc, "DescribeLaunchTemplates", s.describeTemplates)
	wire.Handle(svc, "DescribeLaunchTemplateVersions", s.describeVersions)
}

var templateName = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]{3,128}$`)

func noTemplate(ref string) error {
	if templateName.MatchString(ref) && len(ref) > 3 && ref[:3] == "lt-" {
		return wire.Errorf("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", ref)
	}
	return wire.Errorf("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", ref)
}

func (s *Service) template(tx *state.Tx, id, name *string) (*Template, error) {
	if id != nil {
		if t, ok := s.templates.Get(tx, *id); ok {
			return t, nil
		}
		return nil, noTemplate(*id)
	}
	for _, t := range s.templates.All(tx) {
		if t.Name == wire.Value(name) {
			return t, nil
		}
	}
	return nil, noTemplate(wire.Value(name))
}

// ResolveTemplate is the id of a launch template and the number of a version of it.
func (s *Service) ResolveTemplate(tx *state.Tx, id, name, version *string) (string, int64, error) {
	t, err := s.template(tx, id, name)
	if err != nil {
		return "", 0, err
	}
	v, err := t.Version(wire.Value(version))
	return t.ID, v.Number, err
}

// TemplateType is the instance type of a launch template; empty if it has none.
func (s *Service) TemplateType(tx *state.Tx, id, name, version *string) string {
	t, err := s.template(tx, id, name)
	if err != nil {
		return ""
	}
	v, err := t.Version(wire.Value(version))
	if err != nil {
		return ""
	}
	return wire.Value(v.Data.InstanceType)
}

func (t *Template) api() ec2api.LaunchTemplate {
	return ec2api.LaunchTemplate{LaunchTemplateId: &t.ID, LaunchTemplateName: &t.Name, DefaultVersionNumber: &t.Default, LatestVersionNumber: &t.Latest,
		CreateTime: wire.Timestamp(t.CreatedAt), CreatedBy: wire.Ptr("arn:aws:iam::000000000000:root"), Tags: t.Tags}
}

func (t *Template) versionAPI(v TemplateVersion) ec2api.LaunchTemplateVersion {
	return ec2api.LaunchTemplateVersion{LaunchTemplateId: &t.ID, LaunchTemplateName: &t.Name, VersionNumber: wire.Ptr(v.Number), VersionDescription: wire.NonEmpty(v.Description),
		DefaultVersion: wire.Ptr(v.Number == t.Default), LaunchTemplateData: &v.Data, CreateTime: wire.Timestamp(v.CreatedAt), CreatedBy: wire.Ptr("arn:aws:iam::000000000000:root")}
}

// Version resolves a number, $Default or $Latest; empty is the default version.
func (t *Template) Version(ref string) (TemplateVersion, error) {
	n := t.Default
	switch ref {
	case "", "$Default":
	case "$Latest":
		n = t.Latest
	default:
		parsed, err := strconv.ParseInt(ref, 10, 64)
		if err != nil {
			return TemplateVersion{}, wire.Errorf("InvalidLaunchTemplateVersionId.Malformed", "The value '%s' is not a valid launch template version", ref)
		}
		n = parsed
	}
	for _, v := range t.Versions {
		if v.Number == n {
			return v, nil
		}
	}
	return TemplateVersion{}, wire.Errorf("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version '%s' for the specified launch template.", cmp.Or(ref, "$Default"))
}

func (s *Service) createTemplate(_ context.Context, in *ec2api.CreateLaunchTemplateInput) (*ec2api.CreateLaunchTemplateOutput, error) {
	name := wire.Value(in.LaunchTemplateName)
	if !templateName.MatchString(name) {
		return nil, wire.Errorf("InvalidLaunchTemplateName.MalformedException", "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.")
	}
	data, err := convert[ec2api.ResponseLaunchTemplateData](in.LaunchTemplateData)
	if err != nil {
		return nil, err
	}
	t := &Template{ID: newID("lt"), Name: name, Default: 1, Latest: 1, Tags: tagsFor(in.TagSpecifications, "launch-template"), CreatedAt: s.now(),
		Versions: []TemplateVersion{{Number: 1, Description: wire.Value(in.VersionDescription), Data: data, CreatedAt: s.now()}}}
	return &ec2api.CreateLaunchTemplateOutput{LaunchTemplate: wire.Ptr(t.api())}, s.db.Update(func(tx *state.Tx) error {
		if _, err := s.template(tx, nil, &name); err == nil {
			return wire.Errorf("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
		}
		s.templates.Put(tx, t.ID, t)
		return nil
	})
}

func (s *Service) createVersion(_ context.Context, in *ec2api.CreateLaunchTemplateVersionInput) (*ec2api.CreateLaunchTemplateVersionOutput, error) {
	data, err := convert[ec2api.ResponseLaunchTemplateData](in.LaunchTemplateData)
	if err != nil {
		return nil, err
	}
	out := &ec2api.CreateLaunchTemplateVersionOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, err := s.template(tx, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		if in.SourceVersion != nil {
			source, err := old.Version(*in.SourceVersion)
			if err != nil {
				return err
			}
			if data, err = overlay(source.Data, data); err != nil {
				return err
			}
		}
		t := *old
		t.Latest++
		v := TemplateVersion{Number: t.Latest, Description: wire.Value(in.VersionDescription), Data: data, CreatedAt: s.now()}
		t.Versions = append(slices.Clone(old.Versions), v)
		s.templates.Put(tx, t.ID, &t)
		out.LaunchTemplateVersion = wire.Ptr(t.versionAPI(v))
		return nil
	})
}

// overlay is base with every member that is set in top taken from top.
func overlay(base, top ec2api.ResponseLaunchTemplateData) (ec2api.ResponseLaunchTemplateData, error) {
	b, err := convert[map[string]any](base)
	if err != nil {
		return top, err
	}
	t, err := convert[map[string]any](top)
	if err != nil {
		return top, err
	}
	for k, v := range t {
		b[k] = v
	}
	return convert[ec2api.ResponseLaunchTemplateData](b)
}

func (s *Service) modifyTemplate(_ context.Context, in *ec2api.ModifyLaunchTemplateInput) (*ec2api.ModifyLaunchTemplateOutput, error) {
	out := &ec2api.ModifyLaunchTemplateOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		t, err := s.template(tx, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		v, err := t.Version(wire.Value(in.DefaultVersion))
		if err != nil {
			return err
		}
		s.templates.Modify(tx, t.ID, func(t *Template) { t.Default = v.Number; out.LaunchTemplate = wire.Ptr(t.api()) })
		return nil
	})
}

func (s *Service) deleteTemplate(_ context.Context, in *ec2api.DeleteLaunchTemplateInput) (*ec2api.DeleteLaunchTemplateOutput, error) {
	out := &ec2api.DeleteLaunchTemplateOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		t, err := s.template(tx, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		out.LaunchTemplate = wire.Ptr(t.api())
		s.templates.Delete(tx, t.ID)
		return nil
	})
}

func (s *Service) deleteVersions(_ context.Context, in *ec2api.DeleteLaunchTemplateVersionsInput) (*ec2api.DeleteLaunchTemplateVersionsOutput, error) {
	out := &ec2api.DeleteLaunchTemplateVersionsOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, err := s.template(tx, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		t := *old
		for _, ref := range in.Versions {
			v, err := t.Version(ref)
			if err != nil || v.Number == t.Default {
				n, _ := strconv.ParseInt(ref, 10, 64) // a reference that is no number has number 0
				code := "launchTemplateVersionDoesNotExist"
				if err == nil {
					code = "unexpectedError" // the default version can't be deleted
				}
				out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions,
					ec2api.DeleteLaunchTemplateVersionsResponseErrorItem{LaunchTemplateId: &t.ID, LaunchTemplateName: &t.Name, VersionNumber: &n, ResponseError: &ec2api.ResponseError{Code: &code}})
				continue
			}
			t.Versions = slices.DeleteFunc(slices.Clone(t.Versions), func(have TemplateVersion) bool { return have.Number == v.Number })
			out.SuccessfullyDeletedLaunchTemplateVersions = append(out.SuccessfullyDeletedLaunchTemplateVersions,
				ec2api.DeleteLaunchTemplateVersionsResponseSuccessItem{LaunchTemplateId: &t.ID, LaunchTemplateName: &t.Name, VersionNumber: wire.Ptr(v.Number)})
		}
		s.templates.Put(tx, t.ID, &t)
		return nil
	})
}

func (s *Service) describeTemplates(_ context.Context, in *ec2api.DescribeLaunchTemplatesInput) (*ec2api.DescribeLaunchTemplatesOutput, error) {
	var all []ec2api.LaunchTemplate
	err := s.db.View(func(tx *state.Tx) error {
		for _, id := range in.LaunchTemplateIds {
			if _, err := s.template(tx, &id, nil); err != nil {
				return err
			}
		}
		for _, name := range in.LaunchTemplateNames {
			if _, err := s.template(tx, nil, &name); err != nil {
				return err
			}
		}
		for id, t := range s.templates.All(tx) {
			if len(in.LaunchTemplateIds) > 0 && !slices.Contains(in.LaunchTemplateIds, id) || len(in.LaunchTemplateNames) > 0 && !slices.Contains(in.LaunchTemplateNames, t.Name) {
				continue
			}
			ok, err := filter(in.Filters, map[string][]string{"launch-template-name": {t.Name}}, t.Tags)
			if err != nil {
				return err
			}
			if ok {
				all = append(all, t.api())
			}
		}
		return nil
	})
	out, next := page(all, func(t ec2api.LaunchTemplate) string { return wire.Value(t.LaunchTemplateId) }, in.NextToken, pageSize(in.MaxResults))
	return &ec2api.DescribeLaunchTemplatesOutput{LaunchTemplates: out, NextToken: next}, err
}

func (s *Service) describeVersions(_ context.Context, in *ec2api.DescribeLaunchTemplateVersionsInput) (*ec2api.DescribeLaunchTemplateVersionsOutput, error) {
	out := &ec2api.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2api.LaunchTemplateVersion{}}
	return out, s.db.View(func(tx *state.Tx) error {
		t, err := s.template(tx, in.LaunchTemplateId, in.LaunchTemplateName)
		if err != nil {
			return err
		}
		if len(in.Versions) > 0 {
			for _, ref := range in.Versions {
				v, err := t.Version(ref)
				if err != nil {
					return err
				}
				out.LaunchTemplateVersions = append(out.LaunchTemplateVersions, t.versionAPI(v))
			}
			return nil
		}
		lo, _ := strconv.ParseInt(wire.Value(in.MinVersion), 10, 64) // absent or no number: no bound
		hi, _ := strconv.ParseInt(wire.Value(in.MaxVersion), 10, 64)
		for _, v := range slices.Backward(t.Versions) {
			if v.Number >= lo && (hi == 0 || v.Number <= hi) {
				out.LaunchTemplateVersions = append(out.LaunchTemplateVersions, t.versionAPI(v))
			}
		}
		return nil
	})
}
