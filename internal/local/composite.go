package local

import (
	"encoding/json"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// tellOfComposites lets composite alarms tell topics and the event bus
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html).
func (l *Local) tellOfComposites() {
	const stamp = "2006-01-02T15:04:05.000+0000"
	l.cloudwatch.OnCompositeChange(func(c cloudwatch.Composite, previous string) {
		state := map[string]any{"value": c.State(), "reason": wire.Value(c.API.StateReason), "timestamp": wire.TimeOf(c.API.StateUpdatedTimestamp).UTC().Format(stamp)}
		if d := wire.Value(c.API.StateReasonData); d != "" {
			state["reasonData"] = d
		}
		if by := wire.Value(c.API.ActionsSuppressedBy); by != "" {
			state["actionsSuppressedBy"], state["actionsSuppressedReason"] = by, wire.Value(c.API.ActionsSuppressedReason)
		}
		config := map[string]any{"alarmRule": wire.Value(c.API.AlarmRule)}
		if d := wire.Value(c.API.AlarmDescription); d != "" {
			config["description"] = d
		}
		if s := wire.Value(c.API.ActionsSuppressor); s != "" {
			config["actionsSuppressor"], config["actionsSuppressorWaitPeriod"], config["actionsSuppressorExtensionPeriod"] = s, wire.Value(c.API.ActionsSuppressorWaitPeriod), wire.Value(c.API.ActionsSuppressorExtensionPeriod)
		}
		l.around.bus.Emit("aws.cloudwatch", "CloudWatch Alarm State Change", []string{wire.Value(c.API.AlarmArn)},
			map[string]any{"alarmName": c.Name(), "state": state, "previousState": map[string]any{"value": previous}, "configuration": config})
	})
	l.cloudwatch.OnComposite(func(c cloudwatch.Composite, previous string, arns []string) {
		body := map[string]any{"AlarmName": c.Name(), "AlarmDescription": c.API.AlarmDescription, "AWSAccountId": l.cfg.Account, "NewStateValue": c.State(), "NewStateReason": c.API.StateReason,
			"StateChangeTime": wire.TimeOf(c.API.StateTransitionedTimestamp).UTC().Format(stamp), "Region": l.cfg.Region, "AlarmArn": c.API.AlarmArn, "OldStateValue": previous,
			"AlarmRule": c.API.AlarmRule, "AlarmActions": c.API.AlarmActions, "OKActions": c.API.OKActions, "InsufficientDataActions": c.API.InsufficientDataActions}
		message, err := json.Marshal(body)
		for _, arn := range arns {
			if err == nil && strings.HasPrefix(arn, "arn:aws:sns:") {
				err = l.around.sns.Publish(arn, c.State()+": \""+c.Name()+"\" in "+l.cfg.Region, string(message))
			}
			if err != nil {
				l.cfg.Log.Warn("a composite alarm's topic could not be told", "alarm", c.Name(), "topic", arn, "error", err)
				err = nil
			}
		}
	})
}
