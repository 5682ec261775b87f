package ecs

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (a *API) registerSettings(svc *wire.Service) {
	wire.Handle(svc, "PutAccountSetting", a.putAccountSetting)
	wire.Handle(svc, "PutAccountSettingDefault", a.putAccountSettingDefault)
	wire.Handle(svc, "DeleteAccountSetting", a.deleteAccountSetting)
	wire.Handle(svc, "ListAccountSettings", a.listAccountSettings)
}

// accountDefaults are the settings of an account that has set none, and the values each takes.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
var accountDefaults = []struct {
	name   string
	values []string // the first is the default
}{
	{"awsvpcTrunking", []string{"disabled", "enabled"}},
	{"containerInsights", []string{"disabled", "enabled", "enhanced"}},
	{"containerInstanceLongArnFormat", []string{"enabled", "disabled"}},
	{"defaultLogDriverMode", []string{"non-blocking", "blocking"}},
	{"fargateEventWindows", []string{"disabled", "enabled"}},
	{"fargateFIPSMode", []string{"disabled", "enabled"}},
	{"fargateTaskRetirementWaitPeriod", []string{"7", "0", "14"}},
	{"guardDutyActivate", []string{"off", "on"}},
	{"serviceLongArnFormat", []string{"enabled", "disabled"}},
	{"tagResourceAuthorization", []string{"off", "on"}},
	{"taskLongArnFormat", []string{"enabled", "disabled"}},
}

// setting is the effective value for a principal (empty: the caller's account).
func (a *API) setting(ctx context.Context, tx *state.Tx, principal, name string) string {
	root := rootARN(ctx)
	if principal == "" {
		principal = root
	}
	for _, p := range []string{principal, root} {
		if s, ok := a.State.AccountSettings.Get(tx, p+"/"+name); ok {
			return s.Value
		}
	}
	for _, d := range accountDefaults {
		if d.name == name {
			return d.values[0]
		}
	}
	return ""
}

func rootARN(ctx context.Context) string {
	who := wire.Caller(ctx)
	return "arn:" + who.Partition + ":iam::" + who.Account + ":root"
}

func (a *API) putSetting(ctx context.Context, name, value, principal *string) (*ecsapi.Setting, error) {
	i := slices.IndexFunc(accountDefaults, func(d struct {
		name   string
		values []string
	}) bool {
		return d.name == *name
	})
	if i < 0 {
		return nil, invalid("Setting %s is not supported.", *name)
	}
	v := strings.ToLower(*value)
	if !slices.Contains(accountDefaults[i].values, v) {
		return nil, invalid("Setting value %s is not valid for %s. Valid values: %s.", *value, *name, strings.Join(accountDefaults[i].values, ", "))
	}
	switch {
	case strings.HasSuffix(*name, "LongArnFormat") && v == "disabled":
		return nil, invalid("You can no longer disable Long Arn settings")
	case *name == "guardDutyActivate":
		return nil, invalid("The setting guardDutyActivate is managed by Amazon GuardDuty and is read-only.")
	}
	who := wire.Value(principal)
	if who == "" {
		who = rootARN(ctx)
	}
	err := a.State.DB.Update(func(tx *state.Tx) error {
		a.State.AccountSettings.Put(tx, who+"/"+*name, &state.AccountSetting{Principal: who, Name: *name, Value: v})
		return nil
	})
	return showSetting(*name, v, who), err
}

func showSetting(name, value, principal string) *ecsapi.Setting {
	kind := "user"
	if name == "guardDutyActivate" {
		kind = "aws_managed"
	}
	return &ecsapi.Setting{Name: &name, Value: &value, PrincipalArn: &principal, Type: &kind}
}

func (a *API) putAccountSetting(ctx context.Context, in *ecsapi.PutAccountSettingInput) (*ecsapi.PutAccountSettingOutput, error) {
	s, err := a.putSetting(ctx, in.Name, in.Value, in.PrincipalArn)
	return &ecsapi.PutAccountSettingOutput{Setting: s}, err
}

func (a *API) putAccountSettingDefault(ctx context.Context, in *ecsapi.PutAccountSettingDefaultInput) (*ecsapi.PutAccountSettingDefaultOutput, error) {
	s, err := a.putSetting(ctx, in.Name, in.Value, nil)
	return &ecsapi.PutAccountSettingDefaultOutput{Setting: s}, err
}

func (a *API) deleteAccountSetting(ctx context.Context, in *ecsapi.DeleteAccountSettingInput) (*ecsapi.DeleteAccountSettingOutput, error) {
	who := wire.Value(in.PrincipalArn)
	if who == "" {
		who = rootARN(ctx)
	}
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteAccountSettingOutput, error) {
		a.State.AccountSettings.Delete(tx, who+"/"+*in.Name)
		return &ecsapi.DeleteAccountSettingOutput{Setting: showSetting(*in.Name, a.setting(ctx, tx, who, *in.Name), who)}, nil
	})
}

func (a *API) listAccountSettings(ctx context.Context, in *ecsapi.ListAccountSettingsInput) (*ecsapi.ListAccountSettingsOutput, error) {
	who := wire.Value(in.PrincipalArn)
	if who == "" {
		who = rootARN(ctx)
	}
	return view(a, func(tx *state.Tx) (*ecsapi.ListAccountSettingsOutput, error) {
		found := map[string]ecsapi.Setting{}
		for _, d := range accountDefaults {
			_, set := a.State.AccountSettings.Get(tx, who+"/"+d.name)
			if in.Name != nil && *in.Name != d.name || !set && !wire.Value(in.EffectiveSettings) {
				continue
			}
			v := a.setting(ctx, tx, who, d.name)
			if in.Value == nil || *in.Value == v {
				found[d.name] = *showSetting(d.name, v, who)
			}
		}
		var names []string
		for _, d := range accountDefaults {
			if _, ok := found[d.name]; ok {
				names = append(names, d.name)
			}
		}
		part, next, err := page(names, in.NextToken, in.MaxResults, 100)
		out := &ecsapi.ListAccountSettingsOutput{Settings: []ecsapi.Setting{}, NextToken: next}
		for _, n := range part {
			out.Settings = append(out.Settings, found[n])
		}
		return out, err
	})
}
