package main

import (
	"bytes"
	"fmt"
	"strings"
)

// queryCodes are the query error codes that botocore's models leave out: those of SQS, which spoke
// awsQuery first. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
var queryCodes = map[string]map[string]string{"sqs": {
	"BatchEntryIdsNotDistinct":     "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
	"BatchRequestTooLong":          "AWS.SimpleQueueService.BatchRequestTooLong",
	"EmptyBatchRequest":            "AWS.SimpleQueueService.EmptyBatchRequest",
	"InvalidBatchEntryId":          "AWS.SimpleQueueService.InvalidBatchEntryId",
	"MessageNotInflight":           "AWS.SimpleQueueService.MessageNotInflight",
	"PurgeQueueInProgress":         "AWS.SimpleQueueService.PurgeQueueInProgress",
	"QueueDeletedRecently":         "AWS.SimpleQueueService.QueueDeletedRecently",
	"QueueDoesNotExist":            "AWS.SimpleQueueService.NonExistentQueue",
	"QueueNameExists":              "QueueAlreadyExists",
	"TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
	"UnsupportedOperation":         "AWS.SimpleQueueService.UnsupportedOperation",
}}

// writeModel adds one service to the table of package wire: how its requests are recognised, its
// operations, and the HTTP status and code of its errors.
func writeModel(w *bytes.Buffer, id string, m model) error {
	md := m.Metadata
	scope := md.SigningName
	if scope == "" {
		scope = md.EndpointPrefix
	}
	protocols := md.Protocols
	if len(protocols) == 0 {
		protocols = []string{md.Protocol}
	}
	fmt.Fprintf(w, "{ID: %q, Name: %q, Scope: %q, Version: %q", id, md.ServiceID, scope, md.APIVersion)
	fmt.Fprintf(w, ", Protocols: %#v", protocols)
	if md.TargetPrefix != "" {
		fmt.Fprintf(w, ", Target: %q, JSONVersion: %q", md.TargetPrefix, md.JSONVersion)
	}
	if md.XMLNamespace != "" {
		fmt.Fprintf(w, ", Namespace: %q", md.XMLNamespace)
	}
	if md.AWSQueryCompatible != nil {
		w.WriteString(", QueryCompatible: true")
	}
	names := sorted(m.Operations)
	if m.Metadata.Protocol == "rest-json" {
		w.WriteString(",\npaths: map[string]string{\n")
		for _, name := range names {
			fmt.Fprintf(w, "%q: %q,\n", name, m.Operations[name].HTTP.Method+" "+m.Operations[name].HTTP.RequestURI)
		}
		w.WriteString("}")
	}
	if m.Metadata.Protocol == "rest-xml" {
		w.WriteString(",\npaths: map[string]string{\n")
		for _, name := range names {
			if o := m.Operations[name]; !o.Deprecated { // the newer one has the same path
				fmt.Fprintf(w, "%q: %q,\n", name, o.HTTP.Method+" "+xmlPath(o))
			}
		}
		w.WriteString("}")
	}
	fmt.Fprintf(w, ",\noperations: %q,\nerrors: map[string]errorShape{\n", strings.Join(names, " "))
	for _, name := range sorted(m.Shapes) {
		s := m.Shapes[name]
		if !s.Exception && s.Error == nil {
			continue
		}
		e := []string{}
		if code := queryCodes[id][name]; code != "" {
			e = append(e, fmt.Sprintf("code: %q", code))
		}
		if s.Error != nil {
			if s.Error.Code != "" && s.Error.Code != name {
				e = append(e, fmt.Sprintf("code: %q", s.Error.Code))
			}
			if s.Error.HTTPStatusCode != 0 && s.Error.HTTPStatusCode != 400 {
				e = append(e, fmt.Sprintf("status: %d", s.Error.HTTPStatusCode))
			}
		}
		if s.Fault && (s.Error == nil || s.Error.HTTPStatusCode == 0) {
			e = append(e, "status: 500")
		}
		for member := range s.Members {
			if member == "Message" {
				e = append(e, "upper: true")
			}
		}
		fmt.Fprintf(w, "%q: {%s},\n", name, strings.Join(e, ", "))
	}
	w.WriteString("}},\n")
	return nil
}

// xmlPath is the path of an operation, with all that its query must have, and a blank before each header
// it must have.
func xmlPath(o operation) string {
	path, query, _ := strings.Cut(o.HTTP.RequestURI, "?")
	all := o.HTTP.QueryString
	if query != "" {
		all = append([]string{query}, all...)
	}
	return strings.Join(append([]string{path + "?" + strings.Join(all, "&")}, o.HTTP.Header...), " ")
}
