// The SDK: the façade, the generated Kotlin below it, and the Rust library of every ABI.
plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    alias(libs.plugins.dokka)
    `maven-publish`
}

android {
    namespace = "dev.backstop"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    sourceSets["main"].apply {
        kotlin.srcDir(rootProject.file(providers.gradleProperty("backstop.generated").get() + "/dev/backstop/internal"))
        jniLibs.srcDir(rootProject.file(providers.gradleProperty("backstop.jniLibs").get()))
    }
    publishing {
        singleVariant("release") { withSourcesJar() }
    }
}

kotlin {
    jvmToolchain(17)
    compilerOptions { allWarningsAsErrors = true }
}

dependencies {
    api(libs.coroutines)
    implementation(variantOf(libs.jna) { artifactType("aar") })
    implementation(libs.work)
}

publishing {
    publications.register<MavenPublication>("release") {
        artifactId = "backstop-android"
        afterEvaluate { from(components["release"]) }
    }
}
