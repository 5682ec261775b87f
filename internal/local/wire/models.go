package wire

import (
	"slices"
	"strings"
)

// Model is what the server knows of a service: how its requests are recognised and what it can do.
type Model struct {
	ID        string // "ecs"; as botocore names it
	Name      string // AWS's service id, "ECS"
	Scope     string // service name in SigV4 credential scopes
	Version   string // API version, sent by query clients
	Protocols []string

	Target          string // prefix of X-Amz-Target, and the service's name in rpcv2Cbor paths
	JSONVersion     string // "1.0", "1.1"
	Namespace       string // XML namespace of responses
	QueryCompatible bool   // JSON errors also carry the query error code

	paths      map[string]string // of a REST service: operation → "POST /schedules/{Name}"
	operations string            // names in order, one space apart
	errors     map[string]errorShape
}

// errorShape is an exception of the model.
type errorShape struct {
	code   string // query error code, if not the name
	status int    // HTTP status, if not 400
	upper  bool   // the JSON member is "Message", not "message"
}

// Operations lists the operations in the service's model, in order; nil for an unknown service.
func Operations(service string) []string {
	if m := modelOf(service); m != nil {
		return strings.Fields(m.operations)
	}
	return nil
}

// Services lists the ids of the services that have a model, in order.
func Services() []string {
	var ids []string
	for _, m := range models {
		ids = append(ids, m.ID)
	}
	return ids
}

func modelOf(id string) *Model {
	i, ok := slices.BinarySearchFunc(models, id, func(m Model, id string) int { return strings.Compare(m.ID, id) })
	if !ok {
		return nil
	}
	return &models[i]
}
