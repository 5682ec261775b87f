// Package awscloud implements the engines' ports with aws-sdk-go-v2. AWS types stop here.
//
// Nothing in it knows whether it talks to AWS or to the local AWS: the endpoint is the SDK's own
// setting (AWS_ENDPOINT_URL, or Options.Endpoint).
package awscloud
