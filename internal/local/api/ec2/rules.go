package ec2

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

// ruleHash makes the id of a rule from what it says, so that it needs no record.
func ruleHash(r ec2api.SecurityGroupRule) string {
	r.Description, r.SecurityGroupRuleId = nil, nil
	data, err := json.Marshal(r)
	if err != nil { // plain strings and numbers
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:17]
}

func peer(p ec2api.IpPermission) string {
	switch {
	case len(p.IpRanges) > 0:
		return wire.Value(p.IpRanges[0].CidrIp)
	case len(p.Ipv6Ranges) > 0:
		return wire.Value(p.Ipv6Ranges[0].CidrIpv6)
	case len(p.UserIdGroupPairs) > 0:
		return wire.Value(p.UserIdGroupPairs[0].GroupId)
	case len(p.PrefixListIds) > 0:
		return wire.Value(p.PrefixListIds[0].PrefixListId)
	}
	return ""
}

func cmpString(a, b string) int { return strings.Compare(a, b) }
