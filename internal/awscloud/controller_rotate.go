package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

// rotatePort is AWS as the rotate engine needs it.
type rotatePort struct {
	*controllerPort
	clock interface{ Now() time.Time }
}

// Rotate is the engine that replaces the instances of a cluster's groups.
func (c *Cloud) Rotate(cluster string) *rotate.Engine {
	p := &rotatePort{c.controller(), c.Clock}
	return &rotate.Engine{Observer: p, Groups: p, Instances: p, Clock: c.Clock, Cluster: cluster}
}

func (p *rotatePort) Rotations(ctx context.Context, cluster string) ([]rotate.Group, error) {
	// Mostly there is none: one call tells.
	out, err := p.as.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []astypes.Filter{{Name: aws.String("key"), Values: []string{rotate.Tag}}}})
	if err != nil || len(out.Tags) == 0 {
		return nil, err
	}
	s, err := p.sight(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var groups []rotate.Group
	for k := range s.f.groups {
		if _, ok := rotationTag(&s.f.groups[k]); ok {
			g, err := s.group(ctx, &s.f.groups[k], "")
			if err != nil {
				return nil, err
			}
			groups = append(groups, *g)
		}
	}
	return groups, nil
}

func (p *rotatePort) Group(ctx context.Context, cluster, group, version string) (*rotate.Group, error) {
	s, err := p.sight(ctx, cluster)
	if err != nil {
		return nil, err
	}
	for k := range s.f.groups {
		if aws.ToString(s.f.groups[k].AutoScalingGroupName) == group {
			return s.group(ctx, &s.f.groups[k], version)
		}
	}
	return nil, fmt.Errorf("cluster %s has no Auto Scaling group %s", cluster, group)
}

// sight is what was seen of a cluster in one turn.
type sight struct {
	*rotatePort
	f      *fleet
	drains *drain.State
	plan   drain.Plan
}

func (p *rotatePort) sight(ctx context.Context, cluster string) (*sight, error) {
	f, err := p.fleet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	d, err := p.drainState(ctx, cluster, f)
	if err != nil {
		return nil, err
	}
	return &sight{p, f, d, drain.Decide(d, p.clock.Now(), drain.Defaults{})}, nil
}

func rotationTag(g *astypes.AutoScalingGroup) (string, bool) {
	for _, t := range g.Tags {
		if aws.ToString(t.Key) == rotate.Tag {
			return aws.ToString(t.Value), true
		}
	}
	return "", false
}

func readRotation(g *astypes.AutoScalingGroup) (*rotate.Rotation, error) {
	text, ok := rotationTag(g)
	if !ok {
		return nil, nil
	}
	r, err := rotate.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", aws.ToString(g.AutoScalingGroupName), err)
	}
	for _, t := range g.Tags {
		switch key := aws.ToString(t.Key); {
		case strings.HasPrefix(key, rotate.AlarmTag):
			r.Alarms = append(r.Alarms, aws.ToString(t.Value))
		case key == rotate.FailedTag:
			r.Failed = aws.ToString(t.Value)
		}
	}
	return r, nil
}

// group is one group as the engine sees it; version is the one to compare with if no rotation says so.
func (s *sight) group(ctx context.Context, in *astypes.AutoScalingGroup, version string) (*rotate.Group, error) {
	g := &rotate.Group{Name: aws.ToString(in.AutoScalingGroupName), Min: int(aws.ToInt32(in.MinSize)), Max: int(aws.ToInt32(in.MaxSize)), Desired: int(aws.ToInt32(in.DesiredCapacity))}
	var err error
	if g.Rotation, err = readRotation(in); err != nil {
		return nil, err
	}
	if g.Rotation != nil {
		version = g.Rotation.To
	}
	template := templateOf(in)
	if template == nil {
		return nil, fmt.Errorf("not supported: group %s has no launch template", g.Name)
	}
	versions, err := s.versions(ctx, template)
	if err != nil {
		return nil, fmt.Errorf("reading the launch template of group %s: %w", g.Name, err)
	}
	if g.Version, err = versions.resolve(aws.ToString(template.Version)); err != nil {
		return nil, fmt.Errorf("group %s: %w", g.Name, err)
	}
	if version == "" {
		version = g.Version
	}
	if _, ok := versions.print[version]; !ok {
		return nil, fmt.Errorf("group %s: its launch template has no version %s", g.Name, version)
	}
	unknown := map[string]int{}
	for _, m := range in.Instances {
		x := rotate.Member{EC2ID: aws.ToString(m.InstanceId), Zone: aws.ToString(m.AvailabilityZone), Lifecycle: string(m.LifecycleState)}
		if sameTemplate(m.LaunchTemplate, template) {
			x.Version = aws.ToString(m.LaunchTemplate.Version)
			x.Right = versions.same(x.Version, version)
		}
		if i := s.drains.Find(x.EC2ID); i != nil {
			s.describe(&x, i)
		} else {
			unknown[x.EC2ID] = len(g.Members)
		}
		g.Members = append(g.Members, x)
	}
	if err := s.launched(ctx, g, unknown); err != nil {
		return nil, fmt.Errorf("reading the instances of group %s: %w", g.Name, err)
	}
	if g.Rotation == nil {
		return g, nil
	}
	return g, s.health(ctx, g)
}

func templateOf(g *astypes.AutoScalingGroup) *astypes.LaunchTemplateSpecification {
	if g.LaunchTemplate != nil {
		return g.LaunchTemplate
	}
	if m := g.MixedInstancesPolicy; m != nil && m.LaunchTemplate != nil {
		return m.LaunchTemplate.LaunchTemplateSpecification
	}
	return nil
}

// sameTemplate compares what is there of id and name.
func sameTemplate(a, b *astypes.LaunchTemplateSpecification) bool {
	switch {
	case a == nil || b == nil:
		return false
	case a.LaunchTemplateId != nil && b.LaunchTemplateId != nil:
		return *a.LaunchTemplateId == *b.LaunchTemplateId
	}
	return a.LaunchTemplateName != nil && aws.ToString(a.LaunchTemplateName) == aws.ToString(b.LaunchTemplateName)
}

// describe tells what the cluster knows of a member.
func (s *sight) describe(x *rotate.Member, i *drain.Instance) {
	x.LaunchedAt = i.RegisteredAt
	x.Instance, x.Ready = i.ID, i.Status == "ACTIVE" && i.AgentConnected
	x.Marked = i.Mark != nil || i.Hook != nil || i.Status == "DRAINING"
	if i.Mark != nil {
		x.Ours, x.Drop = i.Mark.By == drain.ByRotate, i.Mark.Terminate && !i.Mark.Replace
	}
	for k := range i.Tasks {
		if !i.Tasks[k].Daemon {
			x.Tasks++
		}
	}
	x.Hard = drain.Obstacle(s.drains, i, s.clock.Now())
	for _, d := range s.plan.Drains {
		if d.Instance != i.ID {
			continue
		}
		for _, w := range d.Waits {
			if w.Cause.Stuck() {
				x.Waits = append(x.Waits, w.Sentence)
			}
		}
	}
}

// launched reads since when there are members that the cluster does not know.
func (s *sight) launched(ctx context.Context, g *rotate.Group, unknown map[string]int) error {
	if len(unknown) == 0 {
		return nil
	}
	var ids []string
	for id := range unknown {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	// A filter, not ids: one that is gone would be an error.
	pages := ec2.NewDescribeInstancesPaginator(s.ec2, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("instance-id"), Values: ids[:min(len(ids), 200)]}}})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				if k, ok := unknown[aws.ToString(i.InstanceId)]; ok {
					g.Members[k].LaunchedAt = aws.ToTime(i.LaunchTime)
				}
			}
		}
	}
	return nil
}

// health reads the gates of a rotation.
func (s *sight) health(ctx context.Context, g *rotate.Group) error {
	if names := g.Rotation.Alarms; len(names) > 0 {
		out, err := s.cw.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: names, AlarmTypes: []cwtypes.AlarmType{cwtypes.AlarmTypeMetricAlarm, cwtypes.AlarmTypeCompositeAlarm}})
		if err != nil {
			return fmt.Errorf("reading alarms: %w", err)
		}
		for _, a := range out.MetricAlarms {
			if a.StateValue == cwtypes.StateValueAlarm {
				g.Health.Alarms = append(g.Health.Alarms, aws.ToString(a.AlarmName))
			}
		}
		for _, a := range out.CompositeAlarms {
			if a.StateValue == cwtypes.StateValueAlarm {
				g.Health.Alarms = append(g.Health.Alarms, aws.ToString(a.AlarmName))
			}
		}
	}
	for _, svc := range s.f.services {
		if why := unwell(svc); why != "" {
			g.Health.Services = append(g.Health.Services, why)
		}
	}
	return nil
}

// unwell says what is wrong with a service on instances, if it has fewer tasks than it may.
func unwell(svc types.Service) string {
	d := primaryOf(svc)
	if d == nil || svc.SchedulingStrategy == types.SchedulingStrategyDaemon || svc.LaunchType == types.LaunchTypeFargate {
		return ""
	}
	name, low := aws.ToString(svc.ServiceName), int(svc.DesiredCount)
	if c := svc.DeploymentConfiguration; c != nil && c.MinimumHealthyPercent != nil {
		low = (low*int(*c.MinimumHealthyPercent) + 99) / 100
	}
	switch {
	case d.RolloutState == types.DeploymentRolloutStateFailed:
		return fmt.Sprintf("the deployment of service %s has failed", name)
	case int(svc.RunningCount) < low:
		why := fmt.Sprintf("service %s has %d tasks of at least %d", name, svc.RunningCount, low)
		if len(svc.Events) > 0 && strings.Contains(aws.ToString(svc.Events[0].Message), "unable to place a task") {
			why += ": it was unable to place a task"
		}
		return why
	}
	return ""
}

// versions is the versions of a launch template.
type versions struct {
	print            map[string]string // what each launches
	latest, standard string
}

func (v *versions) same(a, b string) bool { return v.print[a] != "" && v.print[a] == v.print[b] }

func (v *versions) resolve(version string) (string, error) {
	switch version {
	case "", "$Default":
		return v.standard, nil
	case "$Latest":
		return v.latest, nil
	}
	if _, ok := v.print[version]; !ok {
		return "", fmt.Errorf("its launch template has no version %s", version)
	}
	return version, nil
}

func (p *controllerPort) versions(ctx context.Context, t *astypes.LaunchTemplateSpecification) (*versions, error) {
	v := &versions{print: map[string]string{}}
	most := int64(0)
	in := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId}
	if t.LaunchTemplateId == nil {
		in.LaunchTemplateName = t.LaunchTemplateName
	}
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(p.ec2, in)
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, x := range out.LaunchTemplateVersions {
			n := aws.ToInt64(x.VersionNumber)
			name := strconv.FormatInt(n, 10)
			print, err := json.Marshal(x.LaunchTemplateData)
			if err != nil {
				return nil, err
			}
			v.print[name] = string(print)
			if n > most {
				most, v.latest = n, name
			}
			if aws.ToBool(x.DefaultVersion) {
				v.standard = name
			}
		}
	}
	return v, nil
}

// RotationTarget is the launch template version a group is to be rotated to: the one named, one with
// the machine image, or, without either, the one the group launches now. A version with the image is
// made if there is none; dryRun makes none, and says "" then.
func (c *Cloud) RotationTarget(ctx context.Context, group, version, image string, dryRun bool) (string, error) {
	p := c.controller()
	out, err := p.as.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	if err != nil {
		return "", fmt.Errorf("reading group %s: %w", group, err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return "", fmt.Errorf("there is no Auto Scaling group %s", group)
	}
	t := templateOf(&out.AutoScalingGroups[0])
	if t == nil {
		return "", fmt.Errorf("not supported: group %s has no launch template", group)
	}
	v, err := p.versions(ctx, t)
	if err != nil {
		return "", fmt.Errorf("reading the launch template of group %s: %w", group, err)
	}
	now, err := v.resolve(aws.ToString(t.Version))
	if err != nil {
		return "", fmt.Errorf("group %s: %w", group, err)
	}
	if image == "" {
		if version == "" {
			return now, nil
		}
		return v.resolve(version)
	}
	var data ec2types.ResponseLaunchTemplateData
	if err := json.Unmarshal([]byte(v.print[now]), &data); err != nil {
		return "", fmt.Errorf("reading version %s: %w", now, err)
	}
	data.ImageId = &image
	want, err := json.Marshal(&data)
	if err != nil {
		return "", err
	}
	best := 0
	for name, print := range v.print {
		if n, _ := strconv.Atoi(name); print == string(want) && n > best {
			best = n
		}
	}
	if best > 0 || dryRun {
		if best == 0 {
			return "", nil
		}
		return strconv.Itoa(best), nil
	}
	in := &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: t.LaunchTemplateId, SourceVersion: &now,
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image}, VersionDescription: aws.String("slipway cluster rotate")}
	if t.LaunchTemplateId == nil {
		in.LaunchTemplateName = t.LaunchTemplateName
	}
	made, err := p.ec2.CreateLaunchTemplateVersion(ctx, in)
	if err != nil {
		return "", fmt.Errorf("making a launch template version with image %s: %w", image, err)
	}
	return strconv.FormatInt(aws.ToInt64(made.LaunchTemplateVersion.VersionNumber), 10), nil
}

// Groups is the names of the Auto Scaling groups of a cluster.
func (c *Cloud) Groups(ctx context.Context, cluster string) ([]string, error) {
	f, err := c.controller().fleet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range f.groups {
		names = append(names, aws.ToString(g.AutoScalingGroupName))
	}
	slices.Sort(names)
	return names, nil
}

func (p *rotatePort) UseVersion(ctx context.Context, group, version string) error {
	out, err := p.as.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	if err != nil {
		return err
	}
	if len(out.AutoScalingGroups) == 0 {
		return drain.ErrGone
	}
	g := &out.AutoScalingGroups[0]
	in := &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &group}
	switch t := templateOf(g); {
	case t == nil:
		return errors.New("not supported: it has no launch template")
	case g.LaunchTemplate != nil:
		in.LaunchTemplate = &astypes.LaunchTemplateSpecification{LaunchTemplateId: t.LaunchTemplateId, Version: &version}
		if t.LaunchTemplateId == nil {
			in.LaunchTemplate.LaunchTemplateName = t.LaunchTemplateName
		}
	default:
		if t.Version = &version; t.LaunchTemplateId != nil {
			t.LaunchTemplateName = nil // one of the two
		}
		in.MixedInstancesPolicy = g.MixedInstancesPolicy
	}
	_, err = p.as.UpdateAutoScalingGroup(ctx, in)
	return err
}

func (p *rotatePort) SaveRotation(ctx context.Context, group string, r *rotate.Rotation) error {
	tag := func(key, value string) astypes.Tag {
		return astypes.Tag{ResourceId: &group, ResourceType: aws.String("auto-scaling-group"), Key: &key, Value: &value, PropagateAtLaunch: aws.Bool(false)}
	}
	have, err := p.as.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []astypes.Filter{{Name: aws.String("auto-scaling-group"), Values: []string{group}}}})
	if err != nil {
		return err
	}
	put := []astypes.Tag{}
	if r != nil {
		for n, a := range r.Alarms {
			put = append(put, tag(fmt.Sprintf("%s%d", rotate.AlarmTag, n+1), a))
		}
		if r.Failed != "" {
			put = append(put, tag(rotate.FailedTag, cleanTag(r.Failed)))
		}
		put = append(put, tag(rotate.Tag, r.String()))
	}
	var drop []astypes.Tag
	for _, t := range have.Tags {
		key := aws.ToString(t.Key)
		ours := key == rotate.Tag || key == rotate.FailedTag || strings.HasPrefix(key, rotate.AlarmTag)
		if ours && !slices.ContainsFunc(put, func(p astypes.Tag) bool { return *p.Key == key }) {
			drop = append(drop, tag(key, aws.ToString(t.Value)))
		}
	}
	// One call writes all tags of a group or none, so a rotation is never seen without its gates.
	if len(put) > 0 {
		if _, err := p.as.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: put}); err != nil {
			return err
		}
	}
	if len(drop) > 0 {
		_, err = p.as.DeleteTags(ctx, &autoscaling.DeleteTagsInput{Tags: drop})
	}
	return err
}

// cleanTag leaves the characters, and as many, as the value of a tag may have.
func cleanTag(s string) string {
	s = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(" +-=._:/@", c) {
			return c
		}
		return ' '
	}, s)
	return s[:min(len(s), 256)]
}

func (p *rotatePort) DrainFor(ctx context.Context, cluster string, m rotate.Member, drop bool, deadline time.Time, force bool) error {
	mark := &drain.Mark{Deadline: deadline, Policy: drain.Abort, Terminate: true, Replace: !drop, By: drain.ByRotate}
	if force {
		mark.Policy = drain.Force
	}
	if m.Instance == "" {
		// It may have joined since the instances were read, and have tasks.
		arn, err := p.inCluster(ctx, cluster, m.EC2ID)
		if err != nil {
			return err
		}
		if arn == "" { // it never joined, so nothing runs on it
			return ignoreGone(p.Terminate(ctx, m.EC2ID, drop))
		}
		m.Instance = arn
	}
	return ignoreGone(p.Mark(ctx, m.Instance, mark))
}

func (p *rotatePort) ReopenFor(ctx context.Context, cluster string, m rotate.Member) error {
	if m.Instance == "" {
		return nil
	}
	// The tag last: killed between the two, the next turn does both again.
	if err := p.SetStatus(ctx, cluster, m.Instance, "ACTIVE"); err != nil {
		return ignoreGone(err)
	}
	return ignoreGone(p.Mark(ctx, m.Instance, nil))
}

func ignoreGone(err error) error {
	if errors.Is(err, drain.ErrGone) {
		return nil
	}
	return err
}
