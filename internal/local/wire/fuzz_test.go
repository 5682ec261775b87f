package wire

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// thing is a shape with everything the protocols know.
type thing struct {
	Name  *string            `json:"Name,omitzero" aws:"req"`
	Count *int32             `json:"Count,omitzero"`
	Long  *int64             `json:"Long,omitzero"`
	Ratio *float64           `json:"Ratio,omitzero"`
	On    *bool              `json:"On,omitzero"`
	At    *Time              `json:"At,omitzero"`
	Data  []byte             `json:"Data,omitzero"`
	List  []string           `json:"List,omitzero"`
	Flat  []thing            `json:"Flat,omitzero" aws:"flat,item=item"`
	Map   map[string]float64 `json:"Map,omitzero"`
	Inner *thing             `json:"Inner,omitzero" aws:"q=InnerThing,x=innerThing"`
}

func FuzzJSON(f *testing.F) {
	f.Add(`{"Name":"a","Count":1,"Inner":{"Flat":[{"Name":"b"}],"Map":{"k":1.5}},"At":1700000000.123,"Data":"aGk="}`)
	f.Add(`{"At":"2026-01-02T03:04:05Z","Ratio":1e300,"On":true,"List":[]}`)
	f.Add(`null`)
	p := planOf(reflect.TypeFor[thing]())
	f.Fuzz(func(t *testing.T, body string) {
		var in, again thing
		if decodeJSON([]byte(body), &in) != nil {
			return
		}
		p.missing(&in)
		out := p.appendJSON(nil, reflect.ValueOf(in))
		if err := decodeJSON(out, &again); err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, out)
		}
		if second := p.appendJSON(nil, reflect.ValueOf(again)); string(second) != string(out) {
			t.Errorf("written twice, differently:\n%s\n%s", out, second)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("Name=a&List.member.1=x&List.member.2=y&Flat.1.Name=b&Map.entry.1.key=k&Map.entry.1.value=2&InnerThing.On=true")
	f.Add("List.1=x&At=2026-01-02T03:04:05Z&Data=aGk%3D&Count=7&Flat=")
	p := planOf(reflect.TypeFor[thing]())
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		var in thing
		if decodeQuery(form, &in, p) != nil {
			return
		}
		p.missing(&in)
		var x xmlWriter
		p.members(&x, reflect.ValueOf(in))
	})
}

func FuzzCBOR(f *testing.F) {
	seed, err := cborOut.Marshal(thing{Name: String("a"), At: &Time{}, Flat: []thing{{Count: Int32(1)}}, Map: map[string]float64{"k": 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0xbf, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		var in, again thing
		if decodeCBOR(body, &in) != nil {
			return
		}
		out, err := cborOut.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeCBOR(out, &again); err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
	})
}

func FuzzRoute(f *testing.F) {
	f.Add("POST", "/", "AmazonEC2ContainerServiceV20141113.ListClusters", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ecs/aws4_request, x", "{}")
	f.Add("POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", "", "", "\xa0")
	f.Add("GET", "/?Action=DescribeVpcs&Version=2016-11-15", "", "", "")
	open, closed := NewServer(), NewServer(WithKeys(func(id string) (string, bool) { return "secret", id == "a" }))
	f.Fuzz(func(t *testing.T, method, path, target, auth, body string) {
		r, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Authorization", auth)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
		for _, s := range []*Server{open, closed} {
			r.Body = io.NopCloser(strings.NewReader(body))
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code == http.StatusInternalServerError || w.Code < 400 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
	})
}
