package ec2

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

func (s *Service) registerTypes(svc *wire.Service) {
	wire.Handle(svc, "DescribeInstanceTypes", s.types)
	wire.Handle(svc, "DescribeInstanceTypeOfferings", s.offerings)
}

func (s *Service) types(_ context.Context, in *ec2api.DescribeInstanceTypesInput) (*ec2api.DescribeInstanceTypesOutput, error) {
	for _, name := range in.InstanceTypes {
		if _, ok := capacity.TypeByName(name); !ok {
			return nil, wire.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
		}
	}
	var all []ec2api.InstanceTypeInfo
	for _, t := range capacity.Types() {
		if len(in.InstanceTypes) > 0 && !slices.Contains(in.InstanceTypes, t.Name) {
			continue
		}
		arch := archAPI(t)
		ok, err := filter(in.Filters, map[string][]string{"instance-type": {t.Name}, "processor-info.supported-architecture": {arch}, "vcpu-info.default-vcpus": {strconv.Itoa(t.VCPU)},
			"memory-info.size-in-mib": {strconv.Itoa(t.MemoryMiB)}, "bare-metal": {strconv.FormatBool(t.BareMetal)}, "current-generation": {"true"}, "supported-usage-class": {"on-demand", "spot"}}, nil)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		info := ec2api.InstanceTypeInfo{InstanceType: wire.Ptr(t.Name), BareMetal: wire.Ptr(t.BareMetal), CurrentGeneration: wire.Ptr(true), Hypervisor: wire.Ptr("nitro"),
			VCpuInfo: &ec2api.VCpuInfo{DefaultVCpus: wire.Int32(t.VCPU)}, MemoryInfo: &ec2api.MemoryInfo{SizeInMiB: wire.Int64(t.MemoryMiB)},
			NetworkInfo:           &ec2api.NetworkInfo{MaximumNetworkInterfaces: wire.Int32(t.MaxENIs)},
			ProcessorInfo:         &ec2api.ProcessorInfo{SupportedArchitectures: []string{arch}},
			SupportedUsageClasses: []string{"on-demand", "spot"}, SupportedVirtualizationTypes: []string{"hvm"}, SupportedRootDeviceTypes: []string{"ebs"}}
		if t.GPUs > 0 {
			info.GpuInfo = &ec2api.GpuInfo{Gpus: []ec2api.GpuDeviceInfo{{Count: wire.Int32(t.GPUs)}}}
		}
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b ec2api.InstanceTypeInfo) int { return cmp.Compare(*a.InstanceType, *b.InstanceType) })
	out, next := page(all, func(t ec2api.InstanceTypeInfo) string { return *t.InstanceType }, in.NextToken, int(cmp.Or(wire.Value(in.MaxResults), 100)))
	return &ec2api.DescribeInstanceTypesOutput{InstanceTypes: out, NextToken: next}, nil
}

func archAPI(t capacity.Type) string {
	if t.Arch == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

func (s *Service) offerings(_ context.Context, in *ec2api.DescribeInstanceTypeOfferingsInput) (*ec2api.DescribeInstanceTypeOfferingsOutput, error) {
	kind := cmp.Or(wire.Value(in.LocationType), "region")
	places := []string{s.region}
	if kind == "availability-zone" {
		places = []string{s.region + "a", s.region + "b", s.region + "c"}
	}
	var all []ec2api.InstanceTypeOffering
	for _, t := range capacity.Types() {
		for _, p := range places {
			ok, err := filter(in.Filters, map[string][]string{"instance-type": {t.Name}, "location": {p}}, nil)
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, ec2api.InstanceTypeOffering{InstanceType: wire.Ptr(t.Name), Location: wire.Ptr(p), LocationType: &kind})
			}
		}
	}
	key := func(o ec2api.InstanceTypeOffering) string { return *o.InstanceType + "/" + *o.Location }
	slices.SortFunc(all, func(a, b ec2api.InstanceTypeOffering) int { return cmp.Compare(key(a), key(b)) })
	out, next := page(all, key, in.NextToken, pageSize(in.MaxResults))
	return &ec2api.DescribeInstanceTypeOfferingsOutput{InstanceTypeOfferings: out, NextToken: next}, nil
}
