package main

// sqsNames are the names of SQS's lists and maps in the query protocol, which it spoke first and still
// speaks; botocore's model has those of JSON alone.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html
var sqsNames = map[string]string{
	"AWSAccountIdList": "AWSAccountId", "ActionNameList": "ActionName", "AttributeNameList": "AttributeName",
	"MessageAttributeNameList": "MessageAttributeName", "MessageSystemAttributeList": "MessageSystemAttributeName",
	"MessageList": "Message", "QueueUrlList": "QueueUrl", "TagKeyList": "TagKey", "StringList": "StringListValue", "BinaryList": "BinaryListValue",
	"BatchResultErrorEntryList":                    "BatchResultErrorEntry",
	"ChangeMessageVisibilityBatchRequestEntryList": "ChangeMessageVisibilityBatchRequestEntry",
	"ChangeMessageVisibilityBatchResultEntryList":  "ChangeMessageVisibilityBatchResultEntry",
	"DeleteMessageBatchRequestEntryList":           "DeleteMessageBatchRequestEntry",
	"DeleteMessageBatchResultEntryList":            "DeleteMessageBatchResultEntry",
	"SendMessageBatchRequestEntryList":             "SendMessageBatchRequestEntry",
	"SendMessageBatchResultEntryList":              "SendMessageBatchResultEntry",
	"ListMessageMoveTasksResultEntryList":          "ListMessageMoveTasksResultEntry",
	"QueueAttributeMap":                            "Attribute",
	"MessageBodyAttributeMap":                      "MessageAttribute",
	"MessageBodySystemAttributeMap":                "MessageSystemAttribute",
	"MessageSystemAttributeMap":                    "Attribute",
	"TagMap":                                       "Tag",
}

// addQuery adds the query protocol to the model of SQS.
func addQuery(m *model) {
	m.Metadata.Protocols = append(m.Metadata.Protocols, "query")
	m.Metadata.XMLNamespace = "http://queue.amazonaws.com/doc/2012-11-05/"
	for _, s := range m.Shapes {
		for name, mem := range s.Members {
			if wire := sqsNames[mem.Shape]; wire != "" {
				mem.LocationName, mem.Flattened = wire, true
				s.Members[name] = mem
			}
		}
	}
	for name, s := range m.Shapes {
		wire := sqsNames[name]
		if wire == "" {
			continue
		}
		switch s.Type {
		case "list":
			s.Member.LocationName = wire
		case "map":
			s.Key.LocationName, s.Value.LocationName = "Name", "Value"
			if name == "TagMap" {
				s.Key.LocationName = "Key"
			}
		}
	}
}
