// Package wire speaks the wire protocols of AWS: awsJson 1.0 and 1.1, awsQuery, ec2Query and
// rpcv2Cbor. A Server finds out which service and operation a request is for, decodes the input into
// the Go type of the operation, calls its handler and encodes what it returns, an error included,
// the way the service does.
//
// The types of the services (packages ecsapi, elbv2api, …) and the table of their operations are
// generated from AWS's service models in model/.
//
// # How to add an operation
//
// In internal/local/api/<service>, write a function of the generated input that returns the
// generated output, and register it:
//
//	func Register(svc *wire.Service, …) {
//		s := &service{…}
//		wire.Handle(svc, "DescribeThings", s.describeThings)
//		wire.Handle(svc, "CreateThing", s.createThing, wire.Partly("tags are recorded only"))
//	}
//
//	func (s *service) describeThings(ctx context.Context, in *thingsapi.DescribeThingsInput) (*thingsapi.DescribeThingsOutput, error) {
//		who := wire.Caller(ctx) // account, region, request id
//		if wire.Value(in.Name) == "" {
//			return nil, wire.Errorf("InvalidParameterException", "Name can't be empty.")
//		}
//		return &thingsapi.DescribeThingsOutput{CreatedAt: wire.Timestamp(at), Name: wire.Ptr(name)}, nil
//	}
//
// Rules that hold in every handler:
//   - Members that the model requires are there: the server has checked them, nested ones too.
//   - A nil list, map or pointer is left out of the answer; an empty list that is not nil is sent
//     as an empty list. AWS sends most lists even when empty: use []T{}.
//   - Errors the caller may see are made with Errorf, with the exception's name in the model (or its
//     query error code); the HTTP status comes from the model unless set. Any other error is logged
//     and shown as an internal failure.
//   - Handle panics if the service's model has no such operation.
//
// An operation of the EC2 model has types only if gen/refresh.py lists it: add it there, run
// refresh.py (needs botocore) and go generate.
package wire

//go:generate go run ./gen
