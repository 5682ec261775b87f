package autoscaling

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// What a group can tell of, and the message that is sent when a topic is set.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-sns-notifications.html
const testNotification = "autoscaling:TEST_NOTIFICATION"

var notificationTypes = []string{"autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_LAUNCH_ERROR", "autoscaling:EC2_INSTANCE_TERMINATE", "autoscaling:EC2_INSTANCE_TERMINATE_ERROR", testNotification}

// Publish sends a message to an SNS topic.
type Publish func(topicARN, subject, message string) error

// NotifyThrough has groups' notifications sent. It is called before Run.
func (s *Service) NotifyThrough(p Publish) { s.publish = p }

func (s *Service) registerNotify(svc *wire.Service) {
	wire.Handle(svc, "PutNotificationConfiguration", s.putNotification)
	wire.Handle(svc, "DeleteNotificationConfiguration", s.deleteNotification)
	wire.Handle(svc, "DescribeNotificationConfigurations", s.describeNotifications)
	wire.Handle(svc, "DescribeAutoScalingNotificationTypes", func(context.Context, *autoscalingapi.DescribeAutoScalingNotificationTypesInput) (*autoscalingapi.DescribeAutoScalingNotificationTypesOutput, error) {
		return &autoscalingapi.DescribeAutoScalingNotificationTypesOutput{AutoScalingNotificationTypes: notificationTypes}, nil
	})
}

// notification is a message that waits for its transaction to end.
type notification struct{ topic, subject, message string }

// tell queues what the group's topics asked for. Send them by flush when the transaction is done.
func (s *Service) tell(g *Group, event string, a Activity) {
	for topic, types := range g.Topics {
		if event != testNotification && !slices.Contains(types, event) {
			continue
		}
		message, err := json.Marshal(map[string]any{
			"AccountId": s.account, "AutoScalingGroupARN": g.Spec.AutoScalingGroupARN, "AutoScalingGroupName": s.name(g), "Event": event, "Service": "AWS Auto Scaling",
			"Time": s.clock.Now().UTC(), "RequestId": a.ID, "ActivityId": a.ID, "Cause": a.Cause, "Description": a.Description, "Details": map[string]string{},
			"EC2InstanceId": a.InstanceID, "StartTime": a.Start.UTC(), "EndTime": a.End.UTC(), "Progress": a.Progress, "StatusCode": cmp.Or(a.Status, "Successful"), "StatusMessage": ""})
		if err != nil {
			s.log.Error("writing a notification", "group", s.name(g), "error", err)
			return
		}
		subject := "Auto Scaling: " + map[string]string{notificationTypes[0]: "launch", notificationTypes[1]: "failed launch", notificationTypes[2]: "termination", notificationTypes[3]: "failed termination", testNotification: "test notification"}[event] + ` for group "` + s.name(g) + `"`
		s.mu.Lock()
		s.outbox = append(s.outbox, notification{topic, subject, string(message)})
		s.mu.Unlock()
	}
}

// told chooses the event of an activity.
func told(a Activity) string {
	launch, failed := strings.HasPrefix(a.Description, "Launching"), a.Status == "Failed"
	switch {
	case launch && failed:
		return notificationTypes[1]
	case launch:
		return notificationTypes[0]
	case strings.HasPrefix(a.Description, "Terminating") && failed:
		return notificationTypes[3]
	case strings.HasPrefix(a.Description, "Terminating"):
		return notificationTypes[2]
	}
	return ""
}

func (s *Service) flush() {
	s.mu.Lock()
	out := s.outbox
	s.outbox = nil
	s.mu.Unlock()
	for _, n := range out {
		if s.publish == nil {
			continue
		}
		if err := s.publish(n.topic, n.subject, n.message); err != nil {
			s.log.Warn("a notification was not sent", "topic", n.topic, "error", err)
		}
	}
}

func (s *Service) putNotification(_ context.Context, in *autoscalingapi.PutNotificationConfigurationInput) (*autoscalingapi.PutNotificationConfigurationOutput, error) {
	defer s.flush()
	for _, t := range in.NotificationTypes {
		if !slices.Contains(notificationTypes, t) {
			return nil, wire.Errorf("ValidationError", "%q is not a valid Notification Type", t)
		}
	}
	topic := wire.Value(in.TopicARN)
	if !strings.HasPrefix(topic, "arn:aws:sns:") {
		return nil, wire.Errorf("ValidationError", "Invalid Topic ARN %s", topic)
	}
	return &autoscalingapi.PutNotificationConfigurationOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		topics := map[string][]string{}
		for k, v := range g.Topics {
			topics[k] = v
		}
		topics[topic] = in.NotificationTypes
		one := *g
		one.Topics = map[string][]string{topic: in.NotificationTypes}
		g.Topics = topics
		s.tell(&one, testNotification, Activity{ID: newID()})
		return nil
	})
}

func (s *Service) deleteNotification(_ context.Context, in *autoscalingapi.DeleteNotificationConfigurationInput) (*autoscalingapi.DeleteNotificationConfigurationOutput, error) {
	return &autoscalingapi.DeleteNotificationConfigurationOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		topics := map[string][]string{}
		for k, v := range g.Topics {
			if k != wire.Value(in.TopicARN) {
				topics[k] = v
			}
		}
		g.Topics = topics
		return nil
	})
}

func (s *Service) describeNotifications(_ context.Context, in *autoscalingapi.DescribeNotificationConfigurationsInput) (*autoscalingapi.DescribeNotificationConfigurationsOutput, error) {
	out := &autoscalingapi.DescribeNotificationConfigurationsOutput{NotificationConfigurations: []autoscalingapi.NotificationConfiguration{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for name, g := range s.groups.All(tx) {
			if len(in.AutoScalingGroupNames) > 0 && !slices.Contains(in.AutoScalingGroupNames, name) {
				continue
			}
			for topic, types := range g.Topics {
				for _, t := range types {
					out.NotificationConfigurations = append(out.NotificationConfigurations, autoscalingapi.NotificationConfiguration{AutoScalingGroupName: wire.Ptr(name), TopicARN: wire.Ptr(topic), NotificationType: wire.Ptr(t)})
				}
			}
		}
		slices.SortFunc(out.NotificationConfigurations, func(a, b autoscalingapi.NotificationConfiguration) int {
			return cmp.Or(strings.Compare(*a.AutoScalingGroupName, *b.AutoScalingGroupName), strings.Compare(*a.TopicARN, *b.TopicARN), strings.Compare(*a.NotificationType, *b.NotificationType))
		})
		return nil
	})
}
